"""Arrays read element by element say what `json.loads` says, wherever the text is cut."""

import io
import json

import pytest

from lora_engine.data import json_array
from lora_engine.data.json_array import ElementTooLarge, array_elements

GOOD = [
    "[]", "[1]", " [ 12345 , -1.5e3,\n true,null ] \n", '[{"a": "x\\"]}"}, {"b": [[], {}]}, "é😀"]',
    '["' + "y" * 300 + '", [' + "1, " * 90 + "2]]",
]  # fmt: skip
BAD = [
    "[",
    "[1",
    "[1,]",
    "[1 2]",
    '[{"a": 1}\n, \n{"b" 2}]',
    "[1]\nx",
    '["a',
    "[,1]",
    "[01]",
    "[tru]",
]


def read(text, most=1_000):
    return [
        value
        for _, value in array_elements(
            io.StringIO(text), json.JSONDecoder(), most, lambda read: read.count("[") > 100
        )
    ]


@pytest.fixture(params=[1, 2, 3, 7, 1 << 20])
def cut(request, monkeypatch):
    monkeypatch.setattr(json_array, "READ_CHARACTERS", request.param)


@pytest.mark.parametrize("text", GOOD)
def test_the_elements_are_those_of_json(cut, text):
    assert read(text) == json.loads(text)


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_array_is_refused_where_json_refuses_it(cut, text):
    with pytest.raises(json.JSONDecodeError) as expected:
        json.loads(text)
    with pytest.raises(json.JSONDecodeError) as found:
        read(text)
    place = expected.value.lineno, expected.value.colno
    assert (found.value.lineno, found.value.colno) == place


def test_an_element_is_bounded(cut):
    with pytest.raises(ElementTooLarge) as caught:
        read(f'[1, "{"x" * 2_000}"]')
    assert caught.value.number == 2
