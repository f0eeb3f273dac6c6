"""Kept comparisons: the same when read again, exported, and no file but their own touched."""

import json
import os

import pytest

from lora_engine.compare import sessions as sessions_module
from lora_engine.compare.sampling import Sampling
from lora_engine.compare.sessions import Session, SessionColumn, SessionStore, SessionTurn
from lora_engine.errors import EngineError, NotFound


def said(*texts: str) -> tuple[SessionTurn, ...]:
    roles = ("user", "assistant") * len(texts)
    return tuple(SessionTurn(role=r, content=t) for r, t in zip(roles, texts, strict=False))


SESSION = Session(
    base="starter",
    base_fingerprint="abc",
    system="Be *brief*.",
    sampling=Sampling(seed=7),
    columns=(
        SessionColumn(name="base", title="Base", turns=said("Why?", "Because.\n# no heading")),
        SessionColumn(
            name="r1",
            title="<b>pi_rate</b>",
            strength=0.5,
            layers_off=(0, 1, 3),
            template_mismatch="was trained with <other>.",
            turns=said("Why?", "Arr."),
        ),
    ),
)


@pytest.fixture
def store(tmp_path):
    return SessionStore(tmp_path / "sessions")


def test_a_session_is_read_as_it_was_kept_and_can_be_replaced(store):
    first, second = store.save(SESSION), store.save(SESSION)
    assert first != second
    assert store.load(first) == SESSION
    changed = SESSION.model_copy(update={"memory": "base"})
    assert store.save(changed, first) == first
    assert store.load(first) == changed
    assert store.load(second) == SESSION


@pytest.mark.parametrize("wrong", ["", "x" * 22, "../runs", "a/b", "." * 22, "x" * 21 + "\n"])
def test_an_unknown_id_is_no_path(store, wrong, tmp_path):
    (tmp_path / "runs.json").write_text("{}")
    with pytest.raises(NotFound):
        store.load(wrong)
    if wrong != "x" * 22 and wrong:
        with pytest.raises(NotFound):
            store.save(SESSION, wrong)


@pytest.mark.parametrize(
    "document", ["", "[]", '{"base": 1}', '{"columns": []}', SESSION.as_json()[:-2]]
)
def test_a_damaged_file_is_said(store, document):
    session_id = store.save(SESSION)
    store._path(session_id).write_text(document)
    with pytest.raises(EngineError, match="cannot be read"):
        store.load(session_id)


def test_a_failed_write_leaves_the_old_one_and_no_part(store, monkeypatch):
    session_id = store.save(SESSION)
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        store.save(SESSION.model_copy(update={"system": "x"}), session_id)
    assert store.load(session_id) == SESSION
    assert [path.suffix for path in store._folder.iterdir()] == [".json"]


def test_the_oldest_are_dropped_and_a_huge_one_refused(store, monkeypatch):
    monkeypatch.setattr(sessions_module, "MAX_KEPT", 2)
    ids = [store.save(SESSION) for _ in range(3)]
    for age, session_id in enumerate(ids[1:]):
        os.utime(store._path(session_id), (1_000_000 + age, 1_000_000 + age))
    newest = store.save(SESSION)
    assert store.load(newest) == SESSION
    assert len(list(store._folder.iterdir())) == 2
    monkeypatch.setattr(sessions_module, "MAX_BYTES", 10)
    with pytest.raises(EngineError, match="at most 10"):
        store.save(SESSION)


def test_markdown_quotes_what_was_said_and_escapes_names():
    text = SESSION.as_markdown()
    assert "## Question\n\n> Why?" in text
    assert "### Base\n\n> Because.\n> # no heading" in text
    assert "### \\<b\\>pi\\_rate\\</b\\> at strength 0.5, layers 0–1, 3 off\n\n> Arr." in text
    assert "seed 7" in text
    assert "**Warning:** \\<b\\>pi\\_rate\\</b\\> was trained with \\<other\\>." in text
    assert json.loads(SESSION.as_json())["columns"][1]["turns"][1]["content"] == "Arr."
