from pages.compare.page import build

__all__ = ["build"]
