"""The runs page without a browser: what it shows, escapes, finds and refuses."""

from __future__ import annotations

import json
import os
import subprocess
from types import SimpleNamespace

import plotly.graph_objects as go  # noqa: TID251
import pytest

from lora_engine.engine import Engine
from lora_engine.errors import InvalidInput
from lora_engine.files import append_rows
from lora_engine.run_folder import (
    CLASSES,
    ClassesRow,
    ClassScore,
    FittingChange,
    MemoryShortage,
    MetricsRow,
    MetricsWriter,
    RunDirectory,
    RunProblem,
    RunResult,
    reports,
)
from lora_engine.runs import supervisor
from lora_engine.runs.stall_detection import Stall
from lora_engine.runs.states import RunState
from lora_engine.runs.store import RunStore
from lora_engine.spec import spec_from
from lora_engine.training import KeptPrecision
from pages.runs import controls, curves, run_figures, run_list, run_summary, run_table
from pages.runs import reports as shown_reports
from pages.runs.content import Content, content_of
from pages.runs.selection import Selection
from pages.shared.train_link import spec_in_address
from tests.unit.test_pages_figures import _coloured

ATTACK = "<img src=x onerror=alert(1)>"


@pytest.fixture
def engine(settings, monkeypatch) -> Engine:
    """An engine that starts nothing."""
    monkeypatch.setattr(supervisor, "list_devices", lambda _: [])
    return Engine(settings)


@pytest.fixture
def add(engine, settings):
    """Make a run with as many logged steps, in a state."""
    store = RunStore(settings.database_path)

    def make(
        run_id: str,
        steps: int = 12,
        state: str = "finished",
        error=None,
        scored=False,
        rewarded=False,
        **spec,
    ) -> str:
        directory = RunDirectory(settings.runs_dir / run_id)
        document = spec_from({"name": run_id, **spec})
        directory.create(document)
        writer = MetricsWriter(directory.metrics_path)
        for step in range(1, steps + 1):
            writer.write(
                MetricsRow(
                    seq=0, step=step, epoch=0.1, loss=3.0 / step, learning_rate=1e-3,
                    grad_norm=1.0, tokens=100 * step, tokens_per_s=50.0, elapsed_s=2.0 * step,
                    memory_bytes=2**30, total_steps=12,
                    eval_loss=2.5 / step if step % 4 == 0 else None,
                    eval_accuracy=step / 16 if scored and step % 4 == 0 else None,
                    eval_f1=step / 20 if scored and step % 4 == 0 else None,
                    reward=step / 12 if rewarded else None,
                    eval_reward=step / 24 if rewarded and step % 4 == 0 else None,
                )
            )  # fmt: skip
        writer.close()
        store.add(run_id, document)
        if state in ("finished", "failed", "cancelled"):
            directory.write_result(
                RunResult(
                    state=state, steps=steps, train_loss=1.0, eval_loss=0.5, tokens=100,
                    tokens_per_s=50.0, peak_memory_bytes=2**30, elapsed_s=24.0, error=error,
                )
            )  # fmt: skip
        store.move(run_id, [RunState.QUEUED], RunState(state))
        return run_id

    return make


def shown(engine: Engine, run_id: str = "", **selected) -> Content:
    """What the page shows for a selection."""
    return content_of(engine, Selection(run_id, **selected))


def plot(content: Content, key: str = "loss") -> dict:
    """The figure of the measure of that key."""
    return json.loads(content.parts[key])


def table(content: Content) -> dict:
    return json.loads(content.parts["table"])


def test_several_runs_are_drawn_on_shared_axes_and_plotly_knows_every_property(engine, add):
    for name in "abc":
        add(name)
    values = shown(engine, "b", others=("a", "gone", "a", "c"))
    for key in ("loss", *(what.key for what in curves.MEASURES if not what.rare)):
        figure = plot(values, key)
        go.Figure(_coloured(figure))
        assert figure["layout"]["meta"]["description"].endswith(".")
        assert figure["layout"]["uirevision"]
    named = [trace["name"] for trace in plot(values)["data"] if trace.get("showlegend", True)]
    assert named == ["b", "a", "c"]
    assert plot(values)["data"][0]["y"][:2] == [3.0, 1.5]
    assert [trace["name"] for trace in plot(values, "learning_rate")["data"]] == ["b", "a", "c"]
    assert plot(values, "memory_bytes")["data"][0]["y"] == [1.0] * 12


def test_the_large_plot_is_the_reward_where_all_runs_learn_from_one(engine, add):
    for name in ("rewarded", "also"):
        add(name, rewarded=True)
    add("model")
    alone, both = shown(engine, "rewarded"), shown(engine, "rewarded", others=("also",))
    assert plot(alone)["data"][0]["y"][-1] == 1.0
    assert plot(alone)["data"][-1]["y"] == pytest.approx([4 / 24, 8 / 24, 0.5])
    for content in (alone, both):
        go.Figure(_coloured(plot(content)))
        assert plot(content)["layout"]["yaxis"]["title"]["text"] == "reward"
    mixed = shown(engine, "rewarded", others=("model",))
    assert plot(mixed)["data"][0]["y"][0] == 3.0
    assert shown(engine, "model").parts["reward"] == ""


def test_a_classifiers_scores_stand_beside_its_evaluation_loss_and_nowhere_else(engine, add):
    add("classifier", scored=True)
    add("model")
    values = shown(engine, "classifier", others=("model",))
    keys = [what.key for what in curves.MEASURES]
    assert keys[:3] == ["eval_loss", "eval_accuracy", "eval_f1"]
    for key, scores in (("eval_accuracy", [0.25, 0.5, 0.75]), ("eval_f1", [0.2, 0.4, 0.6])):
        drawn, other = plot(values, key)["data"]
        go.Figure(_coloured(plot(values, key)))
        assert (drawn["x"], drawn["y"]) == ([4, 8, 12], scores)
        assert other["y"] == []
        assert plot(values, key)["layout"]["yaxis"]["range"] == [0, 1.02]
    values = shown(engine, "model")
    assert [values.parts[key] for key in ("eval_accuracy", "eval_f1")] == ["", ""]


@pytest.mark.parametrize(("axis", "last"), [("steps", 12), ("tokens", 1200), ("time", 24.0)])
def test_the_axis_is_steps_tokens_or_time(engine, add, axis, last):
    add("a")
    values = shown(engine, "a", axis=axis)
    assert plot(values)["data"][0]["x"][-1] == last
    assert plot(values)["layout"]["xaxis"]["title"]["text"] == run_figures.AXES[axis]


def test_at_most_eight_runs_are_drawn_and_equal_names_told_apart(engine, add):
    for number in range(10):
        add(f"run-{number:04}", name="same")
    others = tuple(f"run-{number:04}" for number in range(10))
    drawn = plot(shown(engine, "run-0009", others=others), "eval_loss")["data"]
    assert len(drawn) == curves.MOST_RUNS
    assert len({trace["name"] for trace in drawn}) == curves.MOST_RUNS
    looks = {(trace["line"]["color"], trace["line"]["dash"]) for trace in drawn}
    assert len(looks) == curves.MOST_RUNS


def test_the_table_has_every_field_of_the_spec_and_finds_by_words_and_state(engine, add):
    add("a", method={"rank": 4}, seed=7)
    add("b", state="interrupted", optimization={"max_steps": 5})
    engine.runs.annotate("b", "a Note of mine", ["sweep", "first"])
    keys = [key for _, key in run_table.choices()]
    assert {"method.rank", "optimization.max_steps", "quantization.bits", "dataset.source",
            "seed", "peak_memory_bytes", "device", "note"} <= set(keys)  # fmt: skip
    every = table(shown(engine, "a", columns=keys))
    assert [len(row["raw"]) for row in every["rows"]] == [len(keys) + 1] * 2
    rank = 1 + keys.index("method.rank")
    assert sorted(row["raw"][rank] for row in every["rows"]) == [4, 8]

    def found(**more) -> list[str]:
        return [row["raw"][0] for row in table(shown(engine, "a", **more))["rows"]]

    assert found() == ["b", "a"]
    assert found(find="SWEEP note") == ["b"]
    assert found(find="sweep nothing") == []
    assert found(states=["finished"]) == ["a"]
    assert found(find="pirate", states=["interrupted", "failed"]) == ["b"]


def test_what_a_person_wrote_is_text_and_never_markup(engine, add):
    add("a", name=ATTACK, error=RunProblem(problem=ATTACK, remedy=ATTACK), state="failed")
    engine.runs.annotate("a", ATTACK, [ATTACK[:40]])
    page = run_summary.heading(engine, engine.runs.get("a"))
    assert "<img" not in page
    assert page.count("&lt;img") == 5
    listed = json.loads(shown(engine, "a").parts["runs"])["items"][0]
    assert listed["name"] == ATTACK  # set as text by list.js
    assert run_summary.facts(engine, engine.runs.get("a")).count("<img") == 0


def test_a_run_says_what_its_base_is_computed_in_and_why(engine, add):
    for run_id, why in {"fast": "pays", "plain": "stored"}.items():
        add(run_id)
        kept = KeptPrecision(precision="bfloat16" if why == "pays" else "float32", why=why)
        (engine.runs.directory(run_id).path / "precision.json").write_text(kept.model_dump_json())
        assert kept.precision in kept.words
        assert kept.words in run_summary.facts(engine, engine.runs.get(run_id))


def test_the_list_says_what_is_chosen_and_ticked_and_a_browser_may_say_anything(engine, add):
    for name in "abc":
        add(name)
    value = shown(engine, "b", others=("a", "gone", "b")).parts["runs"]
    assert run_list.chosen_in(value) == "b"
    assert run_list.ticked_in(value) == ["a"]
    for wrong in ("", "no json", "[]", "3", '{"chosen": 3, "ticked": 3}'):
        assert (run_list.chosen_in(wrong), run_list.ticked_in(wrong)) == ("", [])
    assert run_list.ticked_in('{"ticked": [1, "a", null]}') == ["a"]


def test_the_list_says_how_far_each_run_is_and_ends_somewhere(engine, add, monkeypatch):
    add("half", steps=6, state="running")
    add("over")
    monkeypatch.setattr(run_list, "MOST_ITEMS", 2)
    add("waiting", steps=0, state="queued")
    document = json.loads(shown(engine, "half").parts["runs"])
    waiting, over = document["items"]
    assert (waiting["state"], waiting["share"]) == ("queued", None)
    assert "0.500" in over["detail"]
    assert "1 older run" in document["foot"]
    (half,) = json.loads(shown(engine, find="half").parts["runs"])["items"]
    assert half["share"] == 0.5


def test_only_what_changed_is_sent_again(engine, add):
    add("a", steps=4, state="running")
    selection = Selection("a")
    first = content_of(engine, selection)
    again = content_of(engine, selection, first.fingerprint)
    assert set(again.parts) <= {"machine", "table"}
    directory = engine.runs.directory("a")
    writer = MetricsWriter(directory.metrics_path)
    writer.write(directory.last_metrics().model_copy(update={"step": 5}))
    writer.close()
    later = content_of(engine, selection, first.fingerprint)
    assert {"runs", "heading", "loss"} <= set(later.parts)
    assert not {"spec", "log", "answers", "files"} & set(later.parts)
    other = content_of(engine, Selection("a", axis="time"), later.fingerprint)
    assert "loss" in other.parts
    assert "table" not in other.parts


def test_a_run_without_a_step_is_named_where_it_is_drawn_with_others(engine, add):
    add("a")
    add("waiting", steps=0, state="queued")
    figure = plot(shown(engine, "a", others=("waiting",)))
    named = [trace["name"] for trace in figure["data"] if trace.get("showlegend", True)]
    assert [name for name in named if "no step yet" in name] == [named[-1]]
    assert "waiting" in named[-1]
    add("also", steps=0, state="queued")
    both = plot(shown(engine, "waiting", others=("also",)))
    assert len(both["layout"]["annotations"]) == 1


def test_every_state_shows_what_can_be_done(engine, add):
    texts = {}
    for state in RunState:
        run_id = add(f"in-{state}", state=str(state))
        texts[state] = run_summary.heading(engine, engine.runs.get(run_id))
        assert f'rs-state-{state}"' in texts[state]
    assert "It is next" in texts[RunState.QUEUED]
    assert "Compare with the base" in texts[RunState.FINISHED]
    assert "killed" in texts[RunState.INTERRUPTED]
    assert "saving a checkpoint" in texts[RunState.PAUSING]
    assert shown(engine).fingerprint


def test_a_classifier_is_tried_out_and_not_asked(engine, add):
    add("a", state="finished", task="sequence_classification")
    heading = run_summary.heading(engine, engine.runs.get("a"))
    assert "See its spectrum" in heading
    assert "tab=take-away" in heading
    assert "Compare with the base" not in heading
    assert 'href="/compare?adapter=a">Try it out' in heading


def test_the_command_is_quoted_for_the_shell(engine, add, settings):
    add("a")
    command = engine.runs.shell_command("a")
    words = subprocess.run(
        [
            "sh",
            "-c",
            command.replace(" && ", " && env -i ", 1).replace("-m lora_engine", "-c pass"),
        ],
        capture_output=True,
        text=True,
        env={**os.environ},
    )
    assert words.returncode == 0, words.stderr
    assert str(settings.runs_dir / "a" / "spec.json") in command


def test_an_address_changes_any_field_of_a_copied_spec(engine, add):
    add("a", optimization={"batch_size": 8})
    wanted = {
        "from": "a", "optimization.batch_size": "4", "quantization.bits": "4",
        "optimization.gradient_accumulation": "2",
    }  # fmt: skip
    spec = spec_in_address(engine, SimpleNamespace(query_params=wanted))
    assert (spec.optimization.batch_size, spec.optimization.gradient_accumulation) == (4, 2)
    assert (spec.quantization.bits, spec.name) == (4, "a")
    wrong = {"from": "a", "optimization.batch_size": "many", "optimization.no": "1"}
    with pytest.raises(InvalidInput) as caught:
        spec_in_address(engine, SimpleNamespace(query_params=wrong))
    assert {problem.path for problem in caught.value.problems} == {
        "optimization.batch_size",
        "optimization.no",
    }


def test_want_of_memory_shows_the_figures_and_the_nearest_change_as_a_button(engine, add):
    changes = [
        FittingChange(what="batch of 4", harm="slower", fields={"optimization.batch_size": 4}),
        FittingChange(what="QLoRA", harm="rounded", fields={"quantization.bits": 4}),
    ]
    short = MemoryShortage(
        estimate_bytes=3 * 2**30, peak_bytes=2 * 2**30, available_bytes=None, changes=changes
    )
    error = RunProblem(problem="Out of memory.", remedy="Halve it.", out_of_memory=short)
    add("a", state="failed", error=error)
    page = run_summary.heading(engine, engine.runs.get("a"))
    assert "Expected: 3.00 GiB; measured peak: 2.00 GiB; there was: unknown" in page
    assert "Train with batch of 4 and QLoRA" in page
    address = "/train?from=a&amp;optimization.batch_size=4&amp;quantization.bits=4"
    assert f'href="{address}"' in page
    nothing = error.model_copy(update={"out_of_memory": short.model_copy(update={"changes": ()})})
    add("b", state="failed", error=nothing)
    assert "smaller base model" in run_summary.heading(engine, engine.runs.get("b"))


def test_sample_answers_and_the_growth_of_the_update_are_shown_and_escaped(engine, add):
    run_id = add("a")
    assert "No sample answers" in shown(engine, run_id).parts["answers"]
    path = engine.runs.directory(run_id).path
    for step in range(0, 100, 10):
        append_rows(
            path / reports.SAMPLES,
            [reports.SampleRow(step=step, prompt=ATTACK, text=f"{ATTACK} {step}", finished=True)],
        )
        module = reports.ModuleUpdateRow(
            name="model.layers.0.q_proj", frobenius_norm=step / 10, effective_rank=2.0
        )
        append_rows(path / reports.UPDATES, [reports.UpdateRow(step=step, modules=(module,))])
    found = shown(engine, run_id).parts
    assert "<img" not in found["answers"] + found["now"]
    assert found["answers"].count("<tr>") == shown_reports.SHOWN_ANSWERS
    assert "before" in found["answers"]
    assert "step 90" in found["answers"]
    in_short = [f"alert(1)&gt; {step}</dd>" in found["now"] for step in (0, 50, 90)]
    assert in_short == [True, False, True]
    for key in ("norms", "ranks"):
        go.Figure(_coloured(json.loads(found[key])))
    assert json.loads(found["norms"])["data"][0]["y"] == ["0.q_proj"]
    assert json.loads(found["norms"])["data"][0]["z"] == [[step / 10 for step in range(0, 100, 10)]]


def test_a_queue_is_moved_within_its_ends_and_its_buttons_follow(engine, add):
    for name in "abc":
        add(name, steps=0, state="queued")
    assert engine.runs.move_in_queue("c", -1) == ["a", "c", "b"]
    assert engine.runs.move_in_queue("c", -5) == ["c", "a", "b"]
    assert engine.runs.move_in_queue("c", 1) == ["a", "c", "b"]
    content = shown(engine, "c")
    possible = {name for name in controls.ACTIONS if content.parts[name]}
    assert possible == {"pause", "cancel", "earlier", "later"}
    assert "One other run waits before it" in content.parts["heading"]
    engine.runs.cancel("a")
    assert engine.runs.move_in_queue("a", 1) == ["c", "b"]


def test_a_classifier_shows_its_newest_accuracy_and_f1_and_other_runs_none(engine, add):
    add("plain")
    add("classifier", steps=8)
    directory = engine.runs.directory("classifier")
    last = directory.last_metrics()
    writer = MetricsWriter(directory.metrics_path)
    for step, accuracy in ((9, 0.75), (10, 0.875), (11, None)):
        f1 = None if accuracy is None else accuracy - 0.125
        scored = {"step": step, "eval_accuracy": accuracy, "eval_f1": f1}
        writer.write(last.model_copy(update={"eval_loss": accuracy, **scored}))
    writer.close()
    result = directory.result().model_copy(update={"eval_accuracy": 0.875, "eval_f1": 0.75})
    directory.write_result(result)

    facts = run_summary.facts(engine, engine.runs.get("classifier"))
    assert "<dt>Accuracy</dt><dd>0.875</dd>" in facts
    assert "<dt>F1</dt><dd>0.750</dd>" in facts
    assert "Accuracy" not in run_summary.facts(engine, engine.runs.get("plain"))
    rows = table(shown(engine, columns=("eval_accuracy", "eval_f1")))["rows"]
    assert {row["raw"][0]: row["raw"][1:] for row in rows} == {
        "classifier": [0.875, 0.75], "plain": [None, None],
    }  # fmt: skip


def test_a_classifiers_classes_stand_in_a_table_of_their_own(engine, add):
    add("classifier")
    directory = engine.runs.directory("classifier")
    before = shown(engine, "classifier").fingerprint
    together = {"accuracy": 0.9, "precision": 0.5, "recall": 1.0, "f1": 2 / 3}
    each = ClassScore(name="PER", precision=0.5, recall=1.0, f1=2 / 3, support=4)
    for step in (5, 10):
        row = ClassesRow(step=step, unit="entities", classes=(each,), **together)
        append_rows(directory.path / CLASSES, [row])
    found = content_of(engine, Selection("classifier"), before).parts
    assert json.loads(found["classes"])["rows"][0]["raw"] == ["PER", 0.5, 1.0, 2 / 3, 4]
    for part in ("answers", "now"):
        assert "step 10" in found[part]
        assert "0.667 of entities" in found[part]
        assert "answers" not in found[part].lower()
    add("plain")
    assert shown(engine, "plain").parts["classes"] == ""


def test_a_run_is_told_by_what_it_was_asked_and_by_what_lies_in_its_folder(engine, add, settings):
    add("a", name=ATTACK, method={"rank": 32}, dataset={"source": ATTACK})
    (settings.runs_dir / "a" / "checkpoints" / "step-4").mkdir(parents=True)
    (settings.runs_dir / "a" / "checkpoints" / "step-4" / "x").write_bytes(b"12345")
    (settings.runs_dir / "a" / ".reserve").write_bytes(b"1")
    parts = shown(engine, "a").parts
    assert "<img" not in parts["spec"]
    assert "<div class=rs-differs><dt>Rank</dt><dd>32</dd></div>" in parts["spec"]
    assert "<div><dt>Learning rate</dt><dd>0.0002</dd></div>" in parts["spec"]
    files = {row["raw"][0]: row["raw"][1] for row in json.loads(parts["files"])["rows"]}
    assert files["checkpoints/step-4/"] == 5
    assert {"spec.json", "metrics.jsonl", "result.json"} <= set(files)
    assert ".reserve" not in files


@pytest.mark.parametrize(
    ("stall", "words"),
    [(Stall(0.0, True), "does not answer"), (Stall(300.0, False), "No step for 5 min")],
)
def test_a_worker_that_gets_nowhere_is_said_to_be(engine, add, monkeypatch, stall, words):
    add("a", state="running")
    monkeypatch.setattr(engine.runs, "stall", lambda _: stall)
    assert words in run_summary.heading(engine, engine.runs.get("a"))
