"""The train page: a form made from the spec, and the rows as the model sees them.

page             the layout, and which event does what
form_fields      which field stands where
address          the form in the page's address
advice_section   which rank to start with, for the chosen data and base
sweep_section    several ranks at once: a grid over the form
endpoints        what gradio_client can call
dataset_uploads  the library of uploaded datasets
rows_view        rows as HTML, with the tokens that carry the loss marked
"""

from pages.train.page import build

__all__ = ["build"]
