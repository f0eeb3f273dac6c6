"""The runs page: every run in a table, one of them live, and the sweeps.

page                 the layout, and which event does what
selection            what the person chose to see: its fields, and its place in the address
content              what the page shows for a selection
watching             what a tab asks for of itself, answered once for all that watch the same
controls             buttons, search, note
run_table            the table of all runs, and its columns
run_summary          one run in words and numbers
curves  run_figures  metrics as curves, and the curves as Plotly figures
samples_and_updates  sample answers, and how ΔW grows
extending            a finished run trained further
going_on  place_form  a stopped run resumed elsewhere
tabs                 runs and sweeps: which of the two is shown
sweep_section        the tab of sweeps; its values are sweep_content's
sweep_judgement      which rank is enough
sweep_used           what of the ranks was used
sweep_proposals      ranks by module at an equal budget
sweep_deletion       a whole sweep deleted, after a question
"""

from pages.runs.page import build

__all__ = ["build"]
