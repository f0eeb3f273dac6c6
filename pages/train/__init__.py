"""The train page: a form made from the spec, and the rows as the model sees them.

page             the layout, and which event does what
form_fields      which field stands where
address          the form in the page's address
advice_section   which rank to start with, for the chosen data and base
sweep_section    several runs at once: a grid over the form, or a run for each method
endpoints        what gradio_client can call
dataset_uploads  the library of uploaded datasets
chosen_dataset   what follows from another dataset (first_records: its first rows as HTML)
data_check_section  what is wrong with the rows (data_check_html), and a cleaned set
data_form        a spec's form in which a mixture stands in place of the dataset
objective_fields  what is learned, and the fields that its kind reads (rule_rows: GRPO's rules)
method_fields    the way to fine-tune, and the fields that it reads
rows_view        rows as HTML, with the tokens that carry the loss marked
"""

from pages.train.page import build

__all__ = ["build"]
