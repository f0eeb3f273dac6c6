"""What must hold for every shape, rank and request, over random ones."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_engine import calculator
from lora_engine.calculator import config_source
from lora_engine.calculator.memory import estimate_from
from lora_engine.calculator.model_profile import read_profile
from lora_engine.errors import EngineError
from lora_engine.spec import MAX_RANK
from tests.calculator_requests import FP4, INT8, NF4, ask, lora

sides = st.integers(1, 10**6)
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
}


@given(sides, sides, st.integers(1, MAX_RANK))
def test_a_matrix_counts_its_factors(d, k, rank):
    counted = calculator.count_matrix(d, k, rank)
    assert counted.lora_parameters == d * rank + rank * k
    assert counted.ratio * counted.reduction == pytest.approx(1)
    saves = counted.lora_parameters < counted.full_parameters
    assert saves == (rank * (d + k) < d * k)
    if not saves:
        assert counted.warnings


@settings(max_examples=15, deadline=None)
@given(
    heads=st.sampled_from([1, 2, 4]),
    groups=st.sampled_from([1, 2]),
    width=st.sampled_from([8, 16]),
    inner=st.integers(1, 200),
    layers=st.integers(1, 12),
    vocab=st.integers(1, 500),
    rank=st.integers(1, 64),
)
def test_a_llama_counts_as_its_shapes_say(heads, groups, width, inner, layers, vocab, rank):
    key_heads = max(1, heads // groups)
    hidden, key = heads * width, key_heads * width
    config = CONFIG | {
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "head_dim": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "vocab_size": vocab,
        "tie_word_embeddings": False,
    }
    counted = calculator.count_model(config_source(config), lora(rank, "all-linear"))
    a_layer = 2 * 2 * hidden + 2 * (hidden + key) + 3 * (hidden + inner)
    assert counted.trainable_parameters == layers * rank * a_layer
    weights = 2 * hidden * hidden + 2 * hidden * key + 3 * hidden * inner + 2 * hidden
    assert counted.base_parameters == layers * weights + 2 * vocab * hidden + hidden


@pytest.fixture(scope="module")
def profile():
    return read_profile(config_source(CONFIG), lora(4, "all-linear"))


requests = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["lora", "full", "freeze", "galore"]),
        "purpose": st.sampled_from(["train", "chat"]),
        "batch_size": st.integers(1, 64),
        "seq_length": st.integers(1, 4096),
        "optimizer": st.sampled_from(["adamw", "adamw_8bit", "paged_adamw", "adafactor"]),
        "other_optimizer": st.sampled_from([None, "galore", "sgd"]),
        "dtype": st.sampled_from(["float32", "bfloat16"]),
        "gradient_checkpointing": st.booleans(),
        "offload_activations": st.booleans(),
        "gradient_accumulation": st.integers(1, 8),
        "attention": st.sampled_from(["sdpa", "eager"]),
        "device": st.sampled_from(["cpu", "cuda"]),
    }
) | st.fixed_dictionaries(
    {
        "quantization": st.sampled_from([NF4, FP4, NF4 | {"double": False}, INT8]),
        "seq_length": st.integers(1, 4096),
        "batch_size": st.integers(1, 64),
        "purpose": st.sampled_from(["train", "chat"]),
        "device": st.sampled_from(["cpu", "cuda"]),
    }
)


@given(fields=requests)
def test_items_sum_and_only_overlap_is_negative(profile, fields):
    request = ask(config_source(CONFIG), lora(4, "all-linear"), **fields)
    estimate = estimate_from(profile, request)
    assert estimate.total_gib == pytest.approx(sum(item.gib for item in estimate.items))
    assert all(item.gib >= 0 for item in estimate.items if item.name != "overlap")
    assert estimate.total_gib > 0


@given(fields=requests, more=st.integers(1, 64))
def test_more_tokens_never_need_less(profile, fields, more):
    source, choice = config_source(CONFIG), lora(4, "all-linear")
    small = estimate_from(profile, ask(source, choice, **fields)).total_gib
    for name in ("batch_size", "seq_length"):
        larger = ask(source, choice, **(fields | {name: fields[name] + more}))
        assert estimate_from(profile, larger).total_gib >= small - 1e-12


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)


def counts_or_refuses(do):
    """Whether `do` works, or is refused with a problem and a remedy; anything else raises."""
    try:
        do()
    except EngineError as error:
        return bool(error.problem and error.remedy)
    return True


@settings(max_examples=60, deadline=None)
@given(field=st.sampled_from(sorted(CONFIG)), value=json_values)
def test_any_value_in_any_field_is_counted_or_refused_in_words(field, value):
    config = CONFIG | {field: value}
    assert counts_or_refuses(
        lambda: calculator.count_model(config_source(config), lora(2, "q_proj"))
    )


@given(st.text(max_size=40), st.integers())
def test_any_target_and_rank_is_taken_or_refused_in_words(name, rank):
    assert counts_or_refuses(lambda: lora(rank, (name,), rank_pattern={name: rank}))
