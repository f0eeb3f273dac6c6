"""The page Settings: what is used of each quota, how the dashboard is set, where things lie."""

from pages.settings.page import SETTINGS, settings_html
from pages.settings.routes import add_routes

__all__ = ["SETTINGS", "add_routes", "settings_html"]
