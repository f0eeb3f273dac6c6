"""The adapters page: every adapter in a table, with what can be done with it (`page`)."""

from pages.adapters.page import build

__all__ = ["build"]
