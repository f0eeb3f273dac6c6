"""The plan: every row once an epoch, and rates that stay between zero and the peak."""

from collections import Counter

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
