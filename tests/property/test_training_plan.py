"""The plan: every row once an epoch, and rates that stay between zero and the peak."""

import math
import random
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lora_engine.spec import OptimizationSpec
from lora_engine.training.learning_rate_schedule import learning_rate_at
from lora_engine.training.plan import make_plan

sizes = st.integers(1, 200)
small = st.integers(1, 7)


@given(rows=sizes, batch_size=small, accumulation=small, epochs=st.integers(1, 4), seed=sizes)
def test_each_epoch_sees_every_row_once(rows, batch_size, accumulation, epochs, seed):
    optimization = OptimizationSpec(
        batch_size=batch_size, gradient_accumulation=accumulation, epochs=epochs
    )
    plan = make_plan([5] * rows, optimization, seed)
    assert plan.total_steps == plan.steps_per_epoch * epochs
    seen = Counter(
        index
        for step in range(1, plan.total_steps + 1)
        for batch in plan.batches(step)
        for index in batch
    )
    assert seen == dict.fromkeys(range(rows), epochs)
    assert all(
        1 <= len(batch) <= batch_size for batch in plan.batches(1) + plan.batches(plan.total_steps)
    )


@given(rows=sizes, seed=sizes, step=st.integers(1, 500))
def test_a_step_has_the_same_rows_whenever_it_is_asked(rows, seed, step):
    first = make_plan([5] * rows, OptimizationSpec(max_steps=500), seed)
    again = make_plan([5] * rows, OptimizationSpec(max_steps=500), seed)
    again.batches(1)
    assert first.batches(step) == again.batches(step)


@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=80),
    budget=st.none() | st.integers(8, 120),
    by_length=st.booleans(),
    accumulation=small,
    seed=sizes,
)
def test_batches_by_tokens_and_by_length(lengths, budget, by_length, accumulation, seed):
    optimization = OptimizationSpec(
        batch_size=3,
        gradient_accumulation=accumulation,
        epochs=2,
        max_tokens_per_batch=budget,
        row_order="by_length" if by_length else "random",
    )
    plan = make_plan(lengths, optimization, seed)
    steps = [plan.batches(step) for step in range(1, plan.total_steps + 1)]
    batches = [batch for step in steps for batch in step]
    assert Counter(row for batch in batches for row in batch) == dict.fromkeys(
        range(len(lengths)), 2
    )
    if budget is not None:
        assert all(
            sum(lengths[row] for row in batch) <= budget or len(batch) == 1 for batch in batches
        )
    else:
        assert all(len(batch) <= 3 for batch in batches)
    if by_length:
        spans = sorted(
            (min(map(lengths.__getitem__, batch)), max(map(lengths.__getitem__, batch)))
            for batch in batches[: len(batches) // 2]
        )
        assert all(a[1] <= b[0] for a, b in zip(spans, spans[1:], strict=False))
    assert make_plan(lengths, optimization, seed) == plan


@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=60),
    budget=st.none() | st.integers(8, 120),
    by_length=st.booleans(),
    seed=sizes,
    step=st.integers(1, 40),
)
def test_the_orders_are_those_of_earlier_versions(lengths, budget, by_length, seed, step):
    """Written once more with lists, as it was: an old run goes on with its rows."""
    optimization = OptimizationSpec(
        batch_size=3,
        gradient_accumulation=2,
        max_steps=40,
        max_tokens_per_batch=budget,
        row_order="by_length" if by_length else "random",
    )
    plan = make_plan(lengths, optimization, seed)
    order = list(range(len(lengths)))
    if budget is None and not by_length:
        epoch, within = divmod(step - 1, math.ceil(len(lengths) / 6))
        random.Random(f"{seed}:{epoch}").shuffle(order)
        rows = order[within * 6 : within * 6 + 6]
        assert plan.batches(step) == [rows[i : i + 3] for i in range(0, len(rows), 3)]
        return
    random.Random(f"{seed}:groups").shuffle(order)
    if by_length:
        order.sort(key=lambda row: lengths[row])
    batches = [[]]
    for row in order:
        is_full = (
            len(batches[-1]) == 3
            if budget is None
            else batches[-1] and sum(lengths[r] for r in batches[-1]) + lengths[row] > budget
        )
        if is_full:
            batches.append([])
        batches[-1].append(row)
    epoch, within = divmod(step - 1, math.ceil(len(batches) / 2))
    order = list(range(len(batches)))
    random.Random(f"{seed}:{epoch}").shuffle(order)
    chosen = order[within * 2 : within * 2 + 2]
    assert plan.batches(step) == [batches[i] for i in chosen]
    heaviest = max(sum(lengths[row] for row in batch) for batch in batches)
    assert plan.fixed_batches.heaviest(np.array(lengths)) == heaviest


def test_the_default_order_is_drawn_row_by_row():
    plan = make_plan([7] * 20, OptimizationSpec(batch_size=4), 0)
    assert plan.fixed_batches is None
    assert plan.batches(1) != plan.batches(1 + plan.steps_per_epoch)


@given(
    total=st.integers(1, 500),
    warmup=st.floats(0, 0.5),
    schedule=st.sampled_from(["cosine", "linear", "constant"]),
)
def test_the_rate_stays_between_zero_and_the_peak(total, warmup, schedule):
    optimization = OptimizationSpec(learning_rate=1e-3, warmup_ratio=warmup, schedule=schedule)
    rates = [learning_rate_at(step, total, optimization) for step in range(1, total + 1)]
    assert all(0 < rate <= 1e-3 * (1 + 1e-12) for rate in rates)
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
