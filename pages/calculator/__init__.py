"""The calculator page: what a low-rank update costs, before anything is loaded.

page               one weight matrix, and the page as a whole
worked_example     one module small enough to edit and to train by hand
whole_model        a model's section: its parts wired together
form               its fields, made from the spec, and the request they make
advice_section     which rank to start with, for this model, its rows and its card
parameter_count    its count: at every rank, by layer, by kind, and beside other methods
memory_estimate    its memory: items, cards, what to change; the endpoint /memory
training_time      its steps, tokens and arithmetic
export             what is taken along: a LoraConfig, a spec, the way to Train
calibration        past runs' memory, predicted and measured
components         parts that static/calculator.js draws
"""

from pages.calculator.page import build

__all__ = ["build"]
