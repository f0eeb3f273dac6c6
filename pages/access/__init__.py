"""Signing in: the gate in front of every page, and the page that it leads to."""

from pages.access.gate import Gate

__all__ = ["Gate"]
