"""Which rank? Advice before a run, the judgement of a sweep after it, and what was used.

service            Advisor: what the engine offers
early_warnings     what the data alone says against a run before it starts
forecast           what a run will take: rows, steps, memory, time, by every method
forecast_rows      its rows and steps, and what a forecast can say at once
sampled_lengths    how long the rows are in tokens, for a forecast
earlier_runs       what earlier runs tell of memory and speed
evidence           the rules, each with its source
alpha              what alpha means at a rank
memory_advice      whether it fits a card, and what to change
advice             advice before a run, from the rules and the calculator
reading            the same for a run's spec: its rows, tokens and base
guess_task         what kind of task a dataset seems to be
judgement          the smallest rank of a sweep that is not worse than the best
judgement_report   what a judgement says: typed, in words, as JSON
bootstrap          intervals over rows that hold together
children           the runs that are judged together, and who is missing
loss_tables        their losses on the same rows
classifier_losses  the same for classifiers, with accuracy and F1
answers            a check on answers beside each rank
curve_signs        training stalls, evaluation turns up early
after_run          advice from a run's own curves and spectrum
used_rank          what of the trained ranks was used, and what runs share
rank_proposal      ranks by module at an equal budget, from a spectrum
proposal_losses    what these cost, measured

Importing it loads no torch and no transformers.
"""

from lora_engine.advisor.advice import GOALS, Advice, AdviceRequest, Goal, advise
from lora_engine.advisor.after_run import AdviceAfter, UsedDirections
from lora_engine.advisor.alpha import AlphaRemark, alpha_remark
from lora_engine.advisor.bootstrap import Interval
from lora_engine.advisor.children import MissingChild
from lora_engine.advisor.early_warnings import EarlyWarning
from lora_engine.advisor.evidence import (
    TASKS,
    AdvisedTask,
    Rule,
    Source,
)
from lora_engine.advisor.forecast import METHODS, MethodForecast, RunForecast
from lora_engine.advisor.forecast_rows import FirstFigures
from lora_engine.advisor.guess_task import TaskGuess
from lora_engine.advisor.judgement_report import Judgement, RankForgetting, RankJudgement
from lora_engine.advisor.memory_advice import MemoryAdvice
from lora_engine.advisor.proposal_losses import ProposalLoss, ProposalLosses
from lora_engine.advisor.rank_proposal import RankProposal, RankProposals
from lora_engine.advisor.reading import AdviceForSpec
from lora_engine.advisor.used_rank import (
    ClaimTest,
    ModuleUse,
    RunUse,
    SharedDirections,
    UsedRank,
    claim_on_checkpoints,
)

__all__ = [
    "GOALS",
    "METHODS",
    "TASKS",
    "Advice",
    "AdviceAfter",
    "AdviceForSpec",
    "AdviceRequest",
    "AdvisedTask",
    "AlphaRemark",
    "ClaimTest",
    "EarlyWarning",
    "FirstFigures",
    "Goal",
    "Interval",
    "Judgement",
    "MemoryAdvice",
    "MethodForecast",
    "MissingChild",
    "ModuleUse",
    "ProposalLoss",
    "ProposalLosses",
    "RankForgetting",
    "RankJudgement",
    "RankProposal",
    "RankProposals",
    "Rule",
    "RunForecast",
    "RunUse",
    "SharedDirections",
    "Source",
    "TaskGuess",
    "UsedDirections",
    "UsedRank",
    "advise",
    "alpha_remark",
    "claim_on_checkpoints",
]
