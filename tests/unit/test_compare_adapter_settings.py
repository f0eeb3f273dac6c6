"""Layers as a person writes them, and the label of an adapter's settings."""

import pytest

from lora_engine.compare.generate.adapter_settings import (
    MAX_LAYER,
    AdapterSettings,
    format_layers,
    parse_layers,
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
    assert parse_layers(text) == layers
    assert parse_layers(format_layers(layers)) == layers


@pytest.mark.parametrize(
    "text",
    ["x", "-1", "1-", "3-1", "1,", ",", "0x3", "1.5", "²", "1\n2", "9" * 7, "0-10000", "1," * 600],
)
def test_what_names_no_layers_is_refused(text):
    with pytest.raises(EngineError) as error:
        parse_layers(text)
    assert len(str(error.value)) < 300


def test_a_use_is_said_in_words():
    assert AdapterSettings().label("pirate") == "pirate"
    assert AdapterSettings(0.5).label("pirate") == "pirate at strength 0.5"
    assert AdapterSettings(1.0, frozenset({2})).label("pirate") == "pirate, layer 2 off"
    both = AdapterSettings(2.0, frozenset({0, 1, 2, 3, 7}))
    assert both.label("pirate") == "pirate at strength 2, layers 0–3, 7 off"
