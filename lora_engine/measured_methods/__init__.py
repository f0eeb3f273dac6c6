"""The same task by every method: one run each, and what each cost and reached, measured.

latency    how long an answer's token takes with each result, beside the base
measuring  the same for all runs of a group, each on the base that it trained on
report     one row a method: what was counted before, what was measured after
task       the spec of a short run to try by every method
service    what the engine offers: start them, read them, measure the answers
"""

from lora_engine.measured_methods.latency import AnswerLatency
from lora_engine.measured_methods.report import MeasuredMethod, MethodsReport
from lora_engine.measured_methods.service import MeasuredMethods
from lora_engine.measured_methods.task import task_spec

__all__ = ["AnswerLatency", "MeasuredMethod", "MeasuredMethods", "MethodsReport", "task_spec"]
