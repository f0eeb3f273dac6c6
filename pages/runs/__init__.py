from pages.runs.page import build

__all__ = ["build"]
