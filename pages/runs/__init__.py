"""The runs page: every run in a table, and one of them live.

page                 the layout, and which event does what
selection            what the person chose to see: its fields, and its place in the address
content              what the page shows for a selection
controls             buttons, search, note
run_table            the table of all runs, and its columns
run_summary          one run in words and numbers
curves  run_figures  metrics as curves, and the curves as Plotly figures
samples_and_updates  sample answers, and how ΔW grows
"""

from pages.runs.page import build

__all__ = ["build"]
