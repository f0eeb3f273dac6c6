"""Advice before a run: a rank to start with, the range to try, and the other knobs, with reasons.

The rules of `evidence.py` are weighed in one stated way: the task's usual rank and that of the
rows meet at their geometric mean, rounded to a power of two (over 50,000 rows the larger of both);
what the data tells must fit the adapter; the range is half to double. `quick` starts at its lower
end, `full` at its upper. Counts and memory are the calculator's. Knows nothing of data or runs.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from lora_engine.advisor.evidence import (
    MANY_ROWS,
    TASKS,
    AdvisedTask,
    Rule,
    alpha_rules,
    dropout_rule,
    information_rule,
    learning_rate_rules,
    loraplus_rules,
    model_size_rules,
    parameters_rule,
    quantization_rule,
    rows_rule,
    small_rank_rule,
    target_rules,
    task_rule,
)
from lora_engine.advisor.memory_advice import MemoryAdvice, advise_on_memory
from lora_engine.base_models import STARTER
from lora_engine.calculator import (
    ModelCount,
    ModelSource,
    Workload,
    read_method,
    read_profile,
    read_request,
)
from lora_engine.errors import FieldProblem, InvalidInput
from lora_engine.language import tr
from lora_engine.spec import MAX_RANK, QuantizationSpec, TargetModules, suited_learning_rate

Goal = Literal["quick", "balanced", "full"]
GOALS: tuple[Goal, ...] = get_args(Goal)
MOST = 10**15
RATE_STEP = 3.0


@dataclass(frozen=True)
class AdviceRequest:
    """What is to be learned, by which model, on what. At least a task, rows or tokens.

    rows: training rows. tokens: supervised ones, each counted once. model: whose shapes count;
    without it neither capacity nor memory is checked. base_model: its name in a spec.
    batch_size, seq_length: for the memory.
    """

    task: AdvisedTask | None = None
    rows: int | None = None
    tokens: int | None = None
    model: ModelSource | None = None
    base_model: str = ""
    target_modules: TargetModules = "all-linear"
    quantization: QuantizationSpec | None = None
    card_gib: float | None = None
    goal: Goal = "balanced"
    batch_size: int = Workload().batch_size
    seq_length: int = Workload().seq_length


@dataclass(frozen=True)
class Advice:
    """What to start with, and why.

    range: ranks worth trying, both ends included. likely_best: where the rules meet, whatever the
    goal. learning_rates: to try at each rank. remarks: what a person should know besides.
    """

    suggested_rank: int
    range: tuple[int, int]
    likely_best: int
    alpha: float
    dropout: float
    target_modules: TargetModules
    loraplus_lr_ratio: float | None
    learning_rate: float
    learning_rates: tuple[float, ...]
    quantization: QuantizationSpec | None
    memory: MemoryAdvice | None
    rules: tuple[Rule, ...]
    remarks: tuple[str, ...]

    @property
    def ranks_to_try(self) -> tuple[int, ...]:
        """Both ends of the range and the powers of two between them."""
        low, high = self.range
        powers = (2**power for power in range(high.bit_length()))
        return tuple(sorted({low, high, *(rank for rank in powers if low < rank < high)}))

    def fields(self) -> dict[str, Any]:
        """The spec's fields by path, and what to put there."""
        found: dict[str, Any] = {
            "method.rank": self.suggested_rank,
            "method.alpha": self.alpha,
            "method.dropout": self.dropout,
            "method.target_modules": self.target_modules,
            "method.loraplus_lr_ratio": self.loraplus_lr_ratio,
            "optimization.learning_rate": self.learning_rate,
        }
        if self.quantization is not None:
            found["quantization"] = self.quantization.model_dump()
        return found | dict(self.memory.fields if self.memory else {})

    def to_json(self) -> dict[str, Any]:
        return {
            "suggested_rank": self.suggested_rank,
            "range": list(self.range),
            "likely_best": self.likely_best,
            "ranks_to_try": list(self.ranks_to_try),
            "alpha": self.alpha,
            "dropout": self.dropout,
            "target_modules": self.target_modules,
            "loraplus_lr_ratio": self.loraplus_lr_ratio,
            "learning_rate": self.learning_rate,
            "learning_rates": list(self.learning_rates),
            "quantization": self.quantization and self.quantization.model_dump(),
            "memory": self.memory and asdict(self.memory),
            "rules": [rule.to_json() for rule in self.rules],
            "remarks": list(self.remarks),
        }


def advise(request: AdviceRequest) -> Advice:
    """Advice for what is asked.

    Raises InvalidInput naming every field that is missing or out of bounds; as the calculator does
    for targets that the model does not have.
    """
    _check(request)
    counted, a_rank, largest = _count(request)
    rules, remarks = [], []
    ranks = _ranks(request)
    rules += ranks
    likely = _where_they_meet(request, ranks)
    needed: Rule | None = None
    if request.tokens is not None and a_rank:
        needed = information_rule(request.tokens, a_rank)
        rules += [needed, parameters_rule(request.tokens, a_rank)]
    least = needed.rank if needed and needed.rank else 1
    likely = max(likely, 2 ** (least - 1).bit_length())
    if likely > largest:
        remarks.append(_more_than_fits(likely, largest, least))
        likely = largest
    low = min(max(likely // 2, least, 1), likely)
    high = min(likely * 2, largest)
    if counted is not None:
        rules += model_size_rules(counted.base_parameters, low, high)
    suggested = {"quick": low, "balanced": likely, "full": high}[request.goal]
    memory = _memory(request, suggested)
    if memory is not None and memory.qlora_gib is not None:
        rules.append(quantization_rule(memory.total_gib, memory.card_gib, memory.qlora_gib))
    remarks += memory.remarks() if memory else ()
    rate = suited_learning_rate(request.base_model)
    dropout = dropout_rule(request.rows)
    rules += [
        *alpha_rules(suggested),
        dropout,
        *target_rules(),
        *learning_rate_rules(rate, request.base_model == STARTER),
        *loraplus_rules(),
    ]
    remarks.append(
        tr(
            "These are starting points. A sweep over the range, judged on held-out rows, says "
            "which rank your data needs; a spectrum alone does not."
        )
    )
    return Advice(
        suggested_rank=suggested,
        range=(low, high),
        likely_best=likely,
        alpha=2.0 * suggested,
        dropout=float(dropout.value or 0.0),
        target_modules=request.target_modules,
        loraplus_lr_ratio=None,
        learning_rate=rate,
        learning_rates=_rates(rate, request.goal),
        quantization=_quantization(request, memory),
        memory=memory,
        rules=tuple(rules),
        remarks=tuple(remarks),
    )


def _more_than_fits(likely: int, largest: int, least: int) -> str:
    return tr(
        "Rank {likely} is called for; the smallest adapted matrix allows {largest}. Full "
        "fine-tuning could learn more."
        if least > largest
        else "Rank {likely} is called for; the smallest adapted matrix allows {largest}.",
        likely=likely,
        largest=largest,
    )


def _check(request: AdviceRequest) -> None:
    problems = []
    given = (request.task, request.rows, request.tokens)
    if all(one is None for one in given):
        problems.append(FieldProblem("request", tr("a task, rows or tokens are needed")))
    if request.task is not None and request.task not in TASKS:
        allowed = ", ".join(TASKS)
        problems.append(
            FieldProblem(
                "task",
                tr("got {task}; {allowed}", task=f"{str(request.task)[:40]!r}", allowed=allowed),
            )
        )
    if request.goal not in GOALS:
        problems.append(
            FieldProblem(
                "goal",
                tr(
                    "got {goal}; {goals}",
                    goal=f"{str(request.goal)[:40]!r}",
                    goals=", ".join(GOALS),
                ),
            )
        )
    for name, count in (("rows", request.rows), ("tokens", request.tokens)):
        if count is not None and not (isinstance(count, int) and 1 <= count <= MOST):
            allowed = tr("whole numbers from 1 to {most} are allowed", most=f"{MOST:,}")
            problems.append(
                FieldProblem(
                    name, tr("got {count}; {allowed}", count=f"{count:,}", allowed=allowed)
                )
            )
    card = request.card_gib
    if card is not None and not 0 < card <= 100_000:
        problems.append(
            FieldProblem("card_gib", tr("got {card}; above 0 up to 100,000 GiB", card=f"{card:g}"))
        )
    if card is not None and request.model is None:
        problems.append(
            FieldProblem("card_gib", tr("memory needs a model; name its base or preset"))
        )
    if request.tokens is not None and request.model is None and given[:2] == (None, None):
        problems.append(
            FieldProblem("tokens", tr("capacity needs a model; name its base or preset"))
        )
    if problems:
        raise InvalidInput(tr("The request"), problems, tr("Correct the fields named."))


def _count(request: AdviceRequest) -> tuple[ModelCount | None, int, int]:
    """The model's count at rank 1, parameters per unit of rank, and the largest rank it allows."""
    if request.model is None:
        return None, 0, MAX_RANK
    method = read_method(rank=1, target_modules=request.target_modules)
    counted = read_profile(request.model, method).count
    sides = [min(one.in_features, one.out_features) for one in counted.modules]
    return counted, sum(one.parameters for one in counted.modules), min([*sides, MAX_RANK])


def _ranks(request: AdviceRequest) -> list[Rule]:
    rules = []
    if request.task is not None:
        rules.append(task_rule(request.task))
    if request.rows is not None:
        rules.append(rows_rule(request.rows))
    return [*rules, small_rank_rule()] if rules else []


def _where_they_meet(request: AdviceRequest, rules: list[Rule]) -> int:
    ranks = [rule.rank for rule in rules if rule.rank is not None]
    if not ranks:
        return 1
    if request.rows is not None and request.rows > MANY_ROWS:
        return _power_of_two(max(ranks))
    return _power_of_two(math.prod(ranks) ** (1 / len(ranks)))


def _power_of_two(rank: float) -> int:
    """The nearest power of two on a logarithmic scale, from the middle upwards."""
    return 2 ** math.floor(math.log2(rank) + 0.5)


def _rates(rate: float, goal: Goal) -> tuple[float, ...]:
    if goal == "quick":
        return (rate,)
    return tuple(float(f"{rate * factor:.2g}") for factor in (1 / RATE_STEP, 1.0, RATE_STEP))


def _memory(request: AdviceRequest, rank: int) -> MemoryAdvice | None:
    if request.model is None or request.card_gib is None:
        return None
    document = {
        "method": {"rank": rank, "target_modules": request.target_modules},
        "quantization": request.quantization and request.quantization.model_dump(),
        "workload": {"batch_size": request.batch_size, "seq_length": request.seq_length},
    }
    return advise_on_memory(read_request(request.model, document), request.card_gib)


def _quantization(request: AdviceRequest, memory: MemoryAdvice | None) -> QuantizationSpec | None:
    """As asked for; 4 bits where nothing else makes it fit."""
    needs = memory is not None and "quantization" in memory.fields
    return QuantizationSpec() if needs else request.quantization
