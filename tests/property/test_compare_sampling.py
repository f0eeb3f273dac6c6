"""The nucleus and the seed, against a reference written another way."""

import random

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_engine.generation.sampling import Sampling, TokenChooser

LOGITS = st.lists(
    st.lists(st.floats(-20, 20, width=32), min_size=7, max_size=7), min_size=1, max_size=4
)


def reference(row: list[float], sampling: Sampling) -> int:
    """The nucleus by hand: sort, cut, draw."""
    scaled = torch.tensor(row) / sampling.temperature
    probabilities = torch.softmax(scaled, -1).tolist()
    order = sorted(range(len(row)), key=lambda token: (-probabilities[token], token))
    nucleus, reached = [], 0.0
    for token in order:
        if nucleus and reached >= sampling.top_p:
            break
        nucleus.append(token)
        reached += probabilities[token]
    threshold = random.Random(sampling.seed).random() * reached
    passed = 0.0
    for token in nucleus:
        passed += probabilities[token]
        if passed > threshold:
            return token
    return nucleus[-1]


@settings(max_examples=200, deadline=None)
@given(
    LOGITS,
    st.floats(0.1, 3.0),
    st.floats(0.05, 1.0),
    st.integers(0, 2**32 - 1),
)
def test_a_draw_comes_from_the_nucleus_and_from_its_own_row_alone(rows, temperature, top_p, seed):
    sampling = Sampling(temperature=temperature, top_p=top_p, seed=seed)
    together = (
        TokenChooser([sampling] * len(rows), [[0]] * len(rows), 7)
        .choose(torch.tensor(rows))
        .tolist()
    )
    alone = [int(TokenChooser([sampling], [[0]], 7).choose(torch.tensor([row]))[0]) for row in rows]
    assert together == alone
    for row, token in zip(rows, together, strict=True):
        probabilities = torch.softmax(torch.tensor(row) / temperature, -1)
        before = probabilities[probabilities > probabilities[token]].sum()
        assert before < top_p + 1e-5


@settings(max_examples=100, deadline=None)
@given(st.permutations(range(7)), st.floats(0.2, 3.0), st.floats(0.05, 1.0), st.integers(0, 999))
def test_distinct_logits_give_the_reference_draw(values, temperature, top_p, seed):
    sampling = Sampling(temperature=temperature, top_p=top_p, seed=seed)
    row = [float(value) for value in values]
    chosen = int(TokenChooser([sampling], [[0]], 7).choose(torch.tensor([row]))[0])
    assert chosen == reference(row, sampling)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=9), st.floats(1.01, 2.0))
def test_the_penalty_only_lowers_tokens_seen(prompt, penalty):
    logits = torch.linspace(-3, 3, 7)[None]
    chooser = TokenChooser([Sampling(repetition_penalty=penalty)], [prompt], 7)
    lowered = chooser._penalised(logits, chooser._seen)[0]
    for token in range(7):
        assert (lowered[token] < logits[0, token]) == (token in prompt and logits[0, token] != 0)
