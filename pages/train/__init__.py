from pages.train.page import build

__all__ = ["build"]
