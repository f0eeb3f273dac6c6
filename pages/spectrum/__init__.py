from pages.spectrum.page import build

__all__ = ["build"]
