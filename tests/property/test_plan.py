"""The plan: every row once an epoch, and rates that stay between zero and the peak."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from lora_engine.training.plan import learning_rate, make_plan
from lora_engine.training.spec import OptimizationSpec

sizes = st.integers(1, 200)
small = st.integers(1, 7)


@given(rows=sizes, batch_size=small, accumulation=small, epochs=st.integers(1, 4), seed=sizes)
def test_each_epoch_sees_every_row_once(rows, batch_size, accumulation, epochs, seed):
    optimization = OptimizationSpec(
        batch_size=batch_size, gradient_accumulation=accumulation, epochs=epochs
    )
    plan = make_plan(rows, optimization, seed)
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
    first = make_plan(rows, OptimizationSpec(max_steps=500), seed)
    again = make_plan(rows, OptimizationSpec(max_steps=500), seed)
    again.batches(1)
    assert first.batches(step) == again.batches(step)


@given(
    total=st.integers(1, 500),
    warmup=st.floats(0, 0.5),
    schedule=st.sampled_from(["cosine", "linear", "constant"]),
)
def test_the_rate_stays_between_zero_and_the_peak(total, warmup, schedule):
    optimization = OptimizationSpec(learning_rate=1e-3, warmup_ratio=warmup, schedule=schedule)
    rates = [learning_rate(step, total, optimization) for step in range(1, total + 1)]
    assert all(0 < rate <= 1e-3 * (1 + 1e-12) for rate in rates)
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
