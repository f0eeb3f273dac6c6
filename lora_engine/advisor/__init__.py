"""Which rank? Advice before a run, the judgement of a sweep after it, and what was used.

service          Advisor: what the engine offers
evidence         the rules, each with its source; what alpha means at a rank
advice           advice before a run, from the rules and the calculator
reading          the same for a run's spec: its rows, tokens and base
guess_task       what kind of task a dataset seems to be

Importing it loads no torch and no transformers.
"""

from lora_engine.advisor.advice import GOALS, Advice, AdviceRequest, Goal, MemoryAdvice, advise
from lora_engine.advisor.evidence import (
    TASKS,
    AdvisedTask,
    AlphaRemark,
    Rule,
    Source,
    alpha_remark,
)
from lora_engine.advisor.guess_task import TaskGuess
from lora_engine.advisor.reading import AdviceForSpec

__all__ = [
    "GOALS",
    "TASKS",
    "Advice",
    "AdviceForSpec",
    "AdviceRequest",
    "AdvisedTask",
    "AlphaRemark",
    "Goal",
    "MemoryAdvice",
    "Rule",
    "Source",
    "TaskGuess",
    "advise",
    "alpha_remark",
]
