"""Notes and tags are bounded, and a deleted run takes nothing else with it."""

import pytest

from lora_engine.annotations import MAX_NOTE, read_note, read_tags
from lora_engine.engine import Engine
from lora_engine.errors import InvalidInput
from lora_engine.run_folder import RunDirectory
from lora_engine.runs.states import RunState
from lora_engine.runs.store import RunStore
from lora_engine.spec import RunSpec


def test_a_note_keeps_its_lines_and_tags_come_once():
    assert read_note("  a\nb ") == "a\nb"
    assert read_tags([" x", "y", "x", ""]) == ("x", "y")


@pytest.mark.parametrize("note", ["x" * (MAX_NOTE + 1), "a\x00b", "\x1b[31m"])
def test_a_note_that_is_too_long_or_not_printable_is_refused(note):
    with pytest.raises(InvalidInput, match="note"):
        read_note(note)


@pytest.mark.parametrize("tags", [["x" * 41], ["a\nb"], ["a,b"], [f"t{n}" for n in range(21)]])
def test_tags_that_are_too_long_or_too_many_are_refused(tags):
    with pytest.raises(InvalidInput, match="tags"):
        read_tags(tags)


def test_a_run_folder_that_is_a_link_is_unlinked_and_its_goal_left_alone(settings, tmp_path):
    engine = Engine(settings)
    goal = tmp_path / "goal"
    RunDirectory(goal).create(RunSpec())
    (settings.runs_dir / "a").symlink_to(goal)
    store = RunStore(settings.database_path)
    store.add("a", RunSpec())
    store.move("a", [RunState.QUEUED], RunState.CANCELLED)
    engine.runs.delete("a")
    assert engine.runs.list() == []
    assert (goal / "spec.json").exists()
    assert list(settings.runs_dir.iterdir()) == []
