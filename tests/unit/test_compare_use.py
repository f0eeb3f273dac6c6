"""Layers as a person writes them, and how an adapter's use is said."""

import pytest

from lora_engine.compare.generate.adapter_settings import (
    MAX_LAYER,
    AdapterUse,
    layers_in,
    layers_text,
)
from lora_engine.errors import EngineError


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("", set()),
        ("  ", set()),
        ("7", {7}),
        ("0-3, 7", {0, 1, 2, 3, 7}),
        ("3 – 4,3,  10", {3, 4, 10}),
        (f"{MAX_LAYER}", {MAX_LAYER}),
    ],
)
def test_layers_are_read(text, layers):
    assert layers_in(text) == layers
    assert layers_in(layers_text(layers)) == layers


@pytest.mark.parametrize(
    "text",
    ["x", "-1", "1-", "3-1", "1,", ",", "0x3", "1.5", "²", "1\n2", "9" * 7, "0-10000", "1," * 600],
)
def test_what_names_no_layers_is_refused(text):
    with pytest.raises(EngineError) as error:
        layers_in(text)
    assert len(str(error.value)) < 300


def test_a_use_is_said_in_words():
    assert AdapterUse().named("pirate") == "pirate"
    assert AdapterUse(0.5).named("pirate") == "pirate at strength 0.5"
    assert AdapterUse(1.0, frozenset({2})).named("pirate") == "pirate, layer 2 off"
    both = AdapterUse(2.0, frozenset({0, 1, 2, 3, 7}))
    assert both.named("pirate") == "pirate at strength 2, layers 0–3, 7 off"
