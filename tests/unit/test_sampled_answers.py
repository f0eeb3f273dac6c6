"""The answers that a comparison opens on: those that the adapters' own runs noted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lora_engine.compare.prompts import sampled_answers

NOTED = [
    (0, "Who?", "A model."),
    (0, "Sky?", "Blue."),
    (50, "Who?", "A model."),
    (50, "Sky?", "Arr."),
    (90, "Who?", "A model."),
    (90, "Sky?", "Arr, blue!"),
]


def run(folder: Path, noted: list = NOTED, **method: object) -> Path:
    """The folder of an adapter in that of its run."""
    adapter = folder / "adapter"
    adapter.mkdir(parents=True)
    spec = {"method": {"finetuning_type": "lora", "init_from": None, **method}}
    (adapter / "provenance.json").write_text(json.dumps({"spec": spec}))
    rows = [
        {"step": step, "prompt": prompt, "text": text, "finished": True}
        for step, prompt, text in noted
    ]
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return adapter


def test_a_question_that_the_adapter_answers_otherwise_comes_first(tmp_path):
    found = sampled_answers([run(tmp_path / "a")])
    assert (found.prompt, found.base, found.adapters, found.steps) == (
        "Sky?", "Blue.", ("Arr, blue!",), (90,),
    )  # fmt: skip


def test_samples_may_lie_beside_an_adapter_without_its_run(tmp_path):
    adapter = run(tmp_path / "a")
    (tmp_path / "a" / "samples.jsonl").rename(adapter / "samples.jsonl")
    assert sampled_answers([adapter]).adapters == ("Arr, blue!",)


def test_several_adapters_share_a_question_or_open_on_none(tmp_path):
    first = run(tmp_path / "a")
    second = run(tmp_path / "b", [(0, "Who?", "A model."), (7, "Who?", "Me.")])
    found = sampled_answers([first, second])
    assert (found.prompt, found.adapters, found.steps) == ("Who?", ("A model.", "Me."), (90, 7))
    other = run(tmp_path / "c", [(0, "Else?", "A."), (7, "Else?", "B.")])
    assert sampled_answers([first, other]) is None
    assert sampled_answers([]) is None


@pytest.mark.parametrize(
    "method", [{"init_from": "another"}, {"finetuning_type": "prompt"}, {"finetuning_type": None}]
)
def test_a_run_that_did_not_begin_as_its_base_says_nothing_of_the_base(tmp_path, method):
    assert sampled_answers([run(tmp_path / "a", **method)]) is None


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe not json\n", b'{"step": 0, "prompt": "Sky?", "text": 3}\n']
)
def test_samples_that_cannot_be_read_are_none(tmp_path, content):
    adapter = run(tmp_path / "a")
    (tmp_path / "a" / "samples.jsonl").write_bytes(content)
    assert sampled_answers([adapter]) is None
    (tmp_path / "a" / "samples.jsonl").unlink()
    assert sampled_answers([adapter]) is None
    (adapter / "provenance.json").write_text("{}")
    assert sampled_answers([adapter]) is None
