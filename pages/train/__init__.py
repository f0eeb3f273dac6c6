"""The train page: a form made from the spec, and the rows as the model sees them.

page             the layout, and which event does what
form_fields      which field stands where
dataset_uploads  the library of uploaded datasets
rows_view        rows as HTML, with the tokens that carry the loss marked
"""

from pages.train.page import build

__all__ = ["build"]
