from pages.adapters.page import build

__all__ = ["build"]
