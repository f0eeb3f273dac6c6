from pages.calculator.page import build

__all__ = ["build"]
