"""Which rank? Advice before a run, the judgement of a sweep after it, and what was used.

service          Advisor: what the engine offers
evidence         the rules, each with its source; what alpha means at a rank
advice           advice before a run, from the rules and the calculator
reading          the same for a run's spec: its rows, tokens and base
guess_task       what kind of task a dataset seems to be
judgement        the smallest rank of a sweep that is not worse than the best
judgement_report what a judgement says: typed, in words, as JSON
bootstrap        intervals over rows that hold together
children         the runs that are judged together, and who is missing
loss_tables      their losses on the same rows
curve_signs      training stalls, evaluation turns up early

Importing it loads no torch and no transformers.
"""

from lora_engine.advisor.advice import GOALS, Advice, AdviceRequest, Goal, MemoryAdvice, advise
from lora_engine.advisor.bootstrap import Interval
from lora_engine.advisor.children import MissingChild
from lora_engine.advisor.evidence import (
    TASKS,
    AdvisedTask,
    AlphaRemark,
    Rule,
    Source,
    alpha_remark,
)
from lora_engine.advisor.guess_task import TaskGuess
from lora_engine.advisor.judgement_report import Judgement, RankForgetting, RankJudgement
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
    "Interval",
    "Judgement",
    "MemoryAdvice",
    "MissingChild",
    "RankForgetting",
    "RankJudgement",
    "Rule",
    "Source",
    "TaskGuess",
    "advise",
    "alpha_remark",
]
