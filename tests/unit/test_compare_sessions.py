"""Kept comparisons: the same when read again, exported, and no file but their own touched."""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from lora_engine.compare.sessions import session_store as sessions_module
from lora_engine.compare.sessions.markdown import as_markdown
from lora_engine.compare.sessions.session import Session, SessionColumn, SessionMessage
from lora_engine.compare.sessions.session_store import SessionRevision, SessionStore
from lora_engine.errors import EngineError, NotFound
from lora_engine.generation.sampling import Sampling


def said(*texts: str) -> tuple[SessionMessage, ...]:
    roles = ("user", "assistant") * len(texts)
    return tuple(SessionMessage(role=r, content=t) for r, t in zip(roles, texts, strict=False))


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


def revised(session: Session, revision: int) -> Session:
    return session.model_copy(update={"revision": revision})


@pytest.fixture
def store(tmp_path):
    return SessionStore(tmp_path / "sessions")


def test_a_session_is_read_as_it_was_kept_and_can_be_replaced(store):
    first, second = store.save(SESSION), store.save(SESSION)
    assert first.id != second.id
    assert store.load(first.id) == revised(SESSION, 1)
    changed = SESSION.model_copy(update={"memory": "base"})
    assert store.save(changed, first) == SessionRevision(first.id, 2)
    assert store.load(first.id) == revised(changed, 2)
    assert store.load(second.id) == revised(SESSION, 1)


def test_of_two_tabs_that_go_on_from_one_session_neither_loses_its_turns(store):
    opened = store.save(SESSION)
    mine, other = (SESSION.model_copy(update={"system": text}) for text in ("mine", "other"))
    first = store.save(mine, opened)
    second = store.save(other, opened)
    assert first == SessionRevision(opened.id, 2)
    assert second.id != opened.id
    assert store.load(first.id).system == "mine"
    assert store.load(second.id).system == "other"
    assert store.save(mine, first).id == first.id  # each goes on in its own
    assert store.save(other, second).id == second.id
    store._path(first.id).unlink()
    assert store.save(mine, SessionRevision(first.id, 3)) == SessionRevision(first.id, 4)


def test_many_threads_that_go_on_from_one_session_are_all_kept(store):
    opened = store.save(SESSION)
    with ThreadPoolExecutor(8) as pool:
        kept = list(pool.map(lambda _: store.save(SESSION, opened), range(16)))
    assert sum(one.id == opened.id for one in kept) == 1
    assert len({one.id for one in kept}) == 16


@pytest.mark.parametrize("text", ["", "x", "x" * 22, "x" * 22 + ".", "x" * 22 + ".-1", "../a.1"])
def test_what_a_page_sends_back_is_checked(text):
    with pytest.raises(NotFound):
        SessionRevision.parse(text)
    assert SessionRevision.parse("x" * 22 + ".7") == SessionRevision("x" * 22, 7)


@pytest.mark.parametrize("wrong", ["", "x" * 22, "../runs", "a/b", "." * 22, "x" * 21 + "\n"])
def test_an_unknown_id_is_no_path(store, wrong, tmp_path):
    (tmp_path / "runs.json").write_text("{}")
    with pytest.raises(NotFound):
        store.load(wrong)
    if wrong != "x" * 22 and wrong:
        with pytest.raises(NotFound):
            store.save(SESSION, SessionRevision(wrong, 0))


@pytest.mark.parametrize(
    "document", ["", "[]", '{"base": 1}', '{"columns": []}', SESSION.as_json()[:-2]]
)
def test_a_damaged_file_is_said(store, document):
    session_id = store.save(SESSION).id
    store._path(session_id).write_text(document)
    with pytest.raises(EngineError, match="cannot be read"):
        store.load(session_id)


def test_a_file_of_before_versions_is_read_and_one_of_a_later_program_left_alone(store):
    kept = store.save(SESSION)
    path = store._path(kept.id)
    document = json.loads(path.read_text())
    assert document.pop("version") == 1
    path.write_text(json.dumps(document))
    assert store.load(kept.id) == revised(SESSION, 1)
    later = json.dumps({**document, "version": 2, "of_later": []})
    path.write_text(later)
    with pytest.raises(EngineError, match=rf"{kept.id}.* 2\b.* 1\b"):
        store.load(kept.id)
    another = store.save(SESSION, kept)
    assert another.id != kept.id
    assert store.load(another.id) == revised(SESSION, 1)
    assert path.read_text() == later


def test_a_failed_write_leaves_the_old_one_and_no_part(store, monkeypatch):
    session_id = store.save(SESSION).id
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        store.save(SESSION.model_copy(update={"system": "x"}), SessionRevision(session_id, 1))
    assert store.load(session_id) == revised(SESSION, 1)
    assert [path.suffix for path in store._folder.iterdir()] == [".json"]


def test_the_oldest_are_dropped_and_a_huge_one_refused(store, monkeypatch):
    monkeypatch.setattr(sessions_module, "MAX_SESSIONS", 2)
    ids = [store.save(SESSION).id for _ in range(3)]
    for age, session_id in enumerate(ids[1:]):
        os.utime(store._path(session_id), (1_000_000 + age, 1_000_000 + age))
    newest = store.save(SESSION).id
    assert store.load(newest) == revised(SESSION, 1)
    assert len(list(store._folder.iterdir())) == 2
    monkeypatch.setattr(sessions_module, "MAX_BYTES", 10)
    with pytest.raises(EngineError, match="at most 10"):
        store.save(SESSION)


def test_a_link_to_nothing_among_them_keeps_no_session_from_being_saved(store):
    store.save(SESSION)
    (store._folder / f"{'A' * 22}.json").symlink_to(store._folder / "nothing")
    assert store.load(store.save(SESSION).id) == revised(SESSION, 1)


def test_markdown_quotes_what_was_said_and_escapes_names():
    text = as_markdown(SESSION)
    assert "## Question\n\n> Why?" in text
    assert "### Base\n\n> Because.\n> # no heading" in text
    assert "### \\<b\\>pi\\_rate\\</b\\> at strength 0.5, layers 0–1, 3 off\n\n> Arr." in text
    assert "seed 7" in text
    assert "**Warning:** \\<b\\>pi\\_rate\\</b\\> was trained with \\<other\\>." in text
    assert json.loads(SESSION.as_json())["columns"][1]["turns"][1]["content"] == "Arr."
