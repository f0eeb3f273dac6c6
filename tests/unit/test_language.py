"""Languages: what `tr` says, which one a browser asks for, and that the catalogues are whole."""

from __future__ import annotations

import ast
import re
import runpy
from itertools import chain
from pathlib import Path

import pytest
from pydantic import BaseModel

from lora_engine import language, spec
from lora_engine.errors import InvalidInput
from lora_engine.language import (
    Saying,
    preferred,
    remembering,
    said_again,
    sayings_of,
    speaking,
    tr,
    tr_count,
    translatable,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def maker():
    return runpy.run_path(str(ROOT / "docs" / "make_catalogue.py"))


@pytest.fixture
def one_text(monkeypatch):
    texts = {"{count} rows": "{count} 行", "Rank": "秩"}
    monkeypatch.setattr(language, "_translations", lambda name: texts if name == "zh" else {})


@pytest.mark.usefixtures("one_text")
def test_a_text_is_said_in_the_language_of_the_block():
    with speaking("zh"):
        assert tr("Rank") == "秩"
        assert tr_count("{count} row", "{count} rows", 1234) == "1,234 行"
        assert tr("unknown {x}", x=1) == "unknown 1"
    assert tr("Rank") == translatable("Rank") == "Rank"
    assert tr_count("{count} row", "{count} rows", 1) == "1 row"


def test_braces_of_values_are_not_read_again():
    assert tr("got {value}", value="{other}") == "got {other}"
    assert tr("{as it stands}") == "{as it stands}"


def test_what_was_said_in_english_is_said_again(monkeypatch):
    texts = {"{what} is wrong.": "{what}有误。", "the {part}": "{part}部分"}
    monkeypatch.setattr(language, "_translations", lambda name: texts if name == "zh" else {})
    with remembering():
        text = tr("{what} is wrong.", what=tr("the {part}", part="A"))
        kept = sayings_of([text, "Never said."])

    assert said_again(text, kept) == text == "the A is wrong."
    with speaking("zh"):
        assert said_again(text, kept) == "A部分有误。"
        assert said_again("Never said.", kept) == "Never said."
        assert said_again(text, {text: Saying("{what} is wrong.", {"x": "y"})}) == text
    assert sayings_of([text]) == {}


def test_only_the_newest_are_remembered():
    with remembering():
        for number in range(language.REMEMBERED + 5):
            tr("{n}", n=number)
        assert sayings_of(["4"]) == {}
        assert sayings_of(["5"]) == {"5": Saying("{n}", {"n": "5"})}


def test_an_unknown_language_is_refused():
    with pytest.raises(KeyError), speaking("xx"):
        pass


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-US,en;q=0.9,zh;q=0.8", "en"),
        ("zh;q=0.2, en;q=0.7", "en"),
        ("fr, zh-TW;q=0.3", "zh"),
        ("de", "en"),
        ("zh;q=0", "en"),
        ("zh;q=abc,;;,=", "en"),
        ("ZH-hans", "zh"),
    ],
)
def test_the_language_a_browser_asks_for(header, expected):
    assert preferred(header) == expected


def test_texts_are_found_in_python_and_javascript(maker):
    python = """tr("a" if x else "b")\nf"{tr('one', x=tr('deep'))}"\ntr_count("1", "2", n)\ntr(x)"""
    script = 'el.title = `${tr("a \\"b\\"", { n })}`; str("c")'
    assert set(maker["python_texts"](python)) == {"a", "b", "one", "deep", "1", "2"}
    assert list(maker["javascript_texts"](script)) == ['a "b"']


def test_what_fields_are_called_is_in_the_catalogue(maker):
    """A title or a description that is put together from parts would not be found in the code."""
    models = [one for one in vars(spec).values() if isinstance(one, type)]
    fields = [one.model_fields.values() for one in models if issubclass(one, BaseModel)]
    texts = {text for field in chain(*fields) for text in (field.title, field.description) if text}

    assert texts
    assert texts <= set(maker["texts"]("lora_engine.spec"))


def test_a_wrong_field_is_told_in_the_language():
    document = {"method": {"rank": 0, "use_dora": "yes"}, "name": "a", "extra": 1}
    with speaking("zh"), pytest.raises(InvalidInput) as raised:
        spec.spec_from(document)

    said = {one.path: one.message for one in raised.value.problems}
    assert said == {
        "method.rank": "必须大于或等于 1；收到的是 0",
        "method.use_dora": "必须是真或假（true 或 false）；收到的是 'yes'",
        "extra": "未知的键",
    }
    assert raised.value.remedy.startswith("请改正")


def test_the_catalogues_are_those_of_the_code(maker):
    for package in maker["packages"]():
        made = maker["catalogue"](package, "zh")
        path = maker["catalogue_path"](package, "zh")
        assert path.is_file() == bool(len(made)), f"run: python docs/make_catalogue.py {package}"
        if path.is_file():
            assert path.read_bytes() == maker["file_of"](made), f"make_catalogue.py {package}"


def test_every_text_has_a_translation_with_the_same_places(maker):
    wrong = [
        (package, message.id)
        for package in maker["packages"]()
        for message in maker["catalogue"](package, "zh")
        if message.id and (not message.string or places(message.id) != places(message.string))
    ]
    assert not wrong


def test_a_text_has_one_translation(maker):
    """All files make one catalogue: of two translations one would be shown everywhere."""
    said: dict[str, set[str]] = {}
    for package in maker["packages"]():
        for message in maker["catalogue"](package, "zh"):
            said.setdefault(str(message.id), set()).add(str(message.string))
    assert {text: several for text, several in said.items() if text and len(several) > 1} == {}


def places(text: str) -> set[str]:
    """The names in braces; other braces, such as a formula's, are none."""
    return set(re.findall(r"\{(\w+)\}", text))


# Which arguments of an error a person reads.
SAID = {
    **dict.fromkeys(("EngineError", "NotFound", "Conflict", "Unreadable"), (0, 1)),
    "InvalidInput": (0, 2),
    "FieldProblem": (1,),
}


def said_in_english_alone(source: str) -> list[str]:
    """What errors in Python code say by a literal that no catalogue can know."""
    return [
        ast.unparse(node.args[place])
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        for place in SAID.get(node.func.id, ())
        if place < len(node.args) and has_words(node.args[place])
    ]


def has_words(node: ast.expr) -> bool:
    """Whether the expression's value is made of a text that stands in it."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and bool(re.search(r"[A-Za-z]{2}", node.value))
    if isinstance(node, ast.IfExp):
        return has_words(node.body) or has_words(node.orelse)
    if isinstance(node, ast.BinOp):
        return has_words(node.left) or has_words(node.right)
    return isinstance(node, ast.JoinedStr) and any(map(has_words, node.values))


def test_every_error_and_what_it_says_of_a_field_is_in_the_catalogue():
    folders = [ROOT / "lora_engine", ROOT / "pages"]
    files = [ROOT / "app.py", *chain(*(folder.rglob("*.py") for folder in folders))]
    found = {str(path): said_in_english_alone(path.read_text("utf-8")) for path in files}

    assert {path: texts for path, texts in found.items() if texts} == {}
    assert said_in_english_alone('NotFound(f"no {x}", tr("a"))\nFieldProblem("a.b", "bad")') == [
        "f'no {x}'",
        "'bad'",
    ]
