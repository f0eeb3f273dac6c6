"""Several sets as one: mixtures by weight, an evaluation set of one's own, filters."""

import json
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lora_engine.__main__ import build
from lora_engine.base_models import load_tokenizer, resolve_base_model
from lora_engine.compare.prompts.held_out_rows import load_held_out_rows
from lora_engine.data import Dataset, filters, load_dataset, preview, split_rows
from lora_engine.data.mixture import shares_of
from lora_engine.data.split import rows_never_seen, split_hash
from lora_engine.data.twins import content_key
from lora_engine.errors import EngineError, InvalidInput
from lora_engine.settings import Settings
from lora_engine.spec import DatasetSpec, spec_from


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", models_dir=tmp_path / "models")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("none")
    return load_tokenizer(resolve_base_model("starter", Settings(data_dir=folder)))


def written(folder: Path, name: str, questions: list[str], answer: str = "A") -> str:
    path = folder / f"{name}.jsonl"
    rows = ({"prompt": question, "completion": answer} for question in questions)
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def spec_of(**fields) -> DatasetSpec:
    return spec_from({"dataset": fields}).dataset


def questions(rows) -> list[str]:
    return [row.messages[0].content for row in rows]


def loaded(settings: Settings, **fields) -> Dataset:
    return load_dataset(spec_of(**fields), settings)


@pytest.mark.parametrize(
    ("counts", "weights", "shares"),
    [
        ([10, 30], [1.0, 1.0], [20, 20]),
        ([10, 30], [1.0, 3.0], [10, 30]),
        ([5, 5, 5], [1.0, 1.0, 0.5], [6, 6, 3]),
        ([7], [0.3], [7]),
        ([1, 1, 1], [1.0, 1.0, 100.0], [0, 0, 3]),
        ([1, 1], [1.0, 1.0], [1, 1]),
        ([2, 1], [1.0, 1.0], [2, 1]),
    ],
)
def test_an_epoch_is_parted_by_weight_and_loses_no_row_to_rounding(counts, weights, shares):
    assert shares_of(counts, weights) == shares


def test_a_small_set_repeats_whole_and_a_large_one_gives_some_of_its_rows(tmp_path, settings):
    small = written(tmp_path, "small", [f"s{n}" for n in range(6)])
    large = written(tmp_path, "large", [f"l{n}" for n in range(30)])
    parts = [{"source": small, "weight": 3.0}, {"source": large}]
    dataset = loaded(settings, mixture=parts)
    assert [part.weight for part in dataset.parts] == [0.75, 0.25]
    training, evaluation = split_rows(dataset, 0.0, 0)
    asked = Counter(questions(training))
    assert len(training) == 36
    assert not evaluation
    assert {asked[f"s{n}"] for n in range(6)} == {4, 5}
    assert sum(count for name, count in asked.items() if name.startswith("s")) == 27
    assert {count for name, count in asked.items() if name.startswith("l")} == {1}
    assert questions(training) == questions(split_rows(dataset, 0.0, 0)[0])
    assert questions(training) != questions(split_rows(dataset, 0.0, 1)[0])


def test_the_evaluation_share_is_of_every_set_and_nothing_repeated_is_on_both_sides(
    tmp_path, settings
):
    one = written(tmp_path, "one", [f"a{n}" for n in range(40)] + ["both", "both"])
    two = written(tmp_path, "two", [f"b{n}" for n in range(9)] + ["both"])
    dataset = loaded(settings, mixture=[{"source": one}, {"source": two, "weight": 5.0}])
    crossed = 0
    for seed in range(40):
        training, evaluation = split_rows(dataset, 0.2, seed)
        assert not {*map(content_key, training)} & {*map(content_key, evaluation)}
        numbers = [row.number for row in evaluation]
        assert len(numbers) == len({*numbers})
        assert sum(number > 42 for number in numbers) <= 2
        assert len(numbers) in (9, 10)
        assert {row.number for row in training} <= {row.number for row in dataset.rows}
        crossed += "both" in questions(evaluation)
    assert crossed > 0
    training, evaluation = split_rows(dataset, 0.2, 3)
    never = rows_never_seen(dataset, 0.2, 3, split_hash(dataset, 0.2))
    assert [row.number for row in never] == [row.number for row in evaluation]


def test_rows_know_their_set_and_its_own_number(tmp_path, settings):
    one, two = written(tmp_path, "one", ["a", "b"]), written(tmp_path, "two", ["c", "d", "e"])
    dataset = loaded(settings, mixture=[{"source": one}, {"source": two}])
    assert [row.number for row in dataset.rows] == [1, 2, 3, 4, 5]
    assert [row.number for row in dataset.rows[1:4]] == [2, 3, 4]
    assert dataset.rows[-1].messages[0].content == "e"
    assert [dataset.named_row(number) for number in (2, 3, 5)] == [
        f"row 2 of {one}",
        f"row 1 of {two}",
        f"row 3 of {two}",
    ]
    with pytest.raises(IndexError):
        dataset.rows[5]
    Path(two).write_text('{"prompt": "c", "completion": "A"}\n{"prompt": "d"}')
    with pytest.raises(EngineError) as error:
        loaded(settings, mixture=[{"source": one}, {"source": two}])
    assert two in error.value.problem
    assert "row 2" in error.value.problem


def test_what_is_mixed_and_how_is_in_the_hash(tmp_path, settings):
    one, two = written(tmp_path, "one", ["a", "b"]), written(tmp_path, "two", ["c", "d"])
    alone = loaded(settings, source=one)
    mixed = loaded(settings, mixture=[{"source": one}, {"source": two}])
    scaled = loaded(
        settings, mixture=[{"source": one, "weight": 2.0}, {"source": two, "weight": 2.0}]
    )
    heavier = loaded(settings, mixture=[{"source": one, "weight": 2.0}, {"source": two}])
    turned = loaded(settings, mixture=[{"source": two}, {"source": one}])
    own = loaded(settings, source=one, eval_source=two)
    filtered = loaded(settings, source=one, filters={"max_characters": 9})
    hashes = [one.content_hash for one in (alone, mixed, heavier, turned, own, filtered)]
    assert len({*hashes}) == 6
    assert scaled.content_hash == mixed.content_hash


def test_sets_that_one_model_cannot_learn_together_are_refused(tmp_path, settings):
    chats = written(tmp_path, "chats", ["a", "b"])
    (tmp_path / "classes.jsonl").write_text('{"text": "a", "label": "x"}\n')
    (tmp_path / "text.txt").write_text("Once upon a time.")
    (tmp_path / "alpaca.jsonl").write_text('{"instruction": "a", "output": "x"}\n')
    with pytest.raises(EngineError, match="classification"):
        loaded(settings, mixture=[{"source": chats}, {"source": str(tmp_path / "classes.jsonl")}])
    with_text = [{"source": chats}, {"source": str(tmp_path / "text.txt")}]
    assert loaded(settings, mixture=with_text).format == "messages and text"
    alpaca = str(tmp_path / "alpaca.jsonl")
    assert loaded(settings, mixture=[{"source": chats}, {"source": alpaca}]).format == "messages"


def test_a_class_that_is_evaluated_and_never_learned_is_refused(tmp_path, settings):
    for name, label in (("learned", "x"), ("seen", "x"), ("new", "z")):
        rows = [{"text": f"{name} {n}", "label": label} for n in range(3)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = str(tmp_path / "learned.jsonl")
    seen = loaded(settings, source=source, eval_source=str(tmp_path / "seen.jsonl"))
    assert seen.format == "classification"
    with pytest.raises(EngineError, match="that no row to train on has: z"):
        loaded(settings, source=source, eval_source=str(tmp_path / "new.jsonl"))


def test_each_set_is_read_by_its_own_columns_else_by_those_of_the_whole(tmp_path, settings):
    for name in ("one", "two"):
        row = {f"{name}_q": name, f"{name}_a": "A"}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row))
    parts = [
        {"source": str(tmp_path / "one.jsonl")},
        {"source": str(tmp_path / "two.jsonl"), "columns": {"prompt": "two_q", "answer": "two_a"}},
    ]
    dataset = loaded(settings, columns={"prompt": "one_q", "answer": "one_a"}, mixture=parts)
    assert questions(dataset.rows) == ["one", "two"]


def test_an_evaluation_set_is_kept_whole_and_its_rows_leave_the_training(tmp_path, settings):
    trained = written(tmp_path, "trained", [f"q{n}" for n in range(20)] + [" q3 "])
    held = written(tmp_path, "held", ["q3", "x", "q7", "x"])
    dataset = loaded(settings, source=trained, eval_source=held, eval_fraction=0.5)
    training, evaluation = split_rows(dataset, 0.5, 0)
    assert questions(evaluation) == ["q3", "x", "q7", "x"]
    assert questions(training) == [f"q{n}" for n in range(20) if n not in (3, 7)]
    assert dataset.trainable_rows == 18
    assert any("3 rows (4, 8, 21)" in warning for warning in dataset.warnings)
    with pytest.raises(EngineError, match="none is left"):
        loaded(settings, source=held, eval_source=held)


def test_the_held_out_rows_of_an_adapter_are_its_evaluation_set(tmp_path, settings):
    held = written(tmp_path, "held", ["x", "y"])
    spec = {"dataset": {"source": "starter:pirate", "eval_source": held}}
    (tmp_path / "provenance.json").write_text(json.dumps({"spec": spec, "data_hash": "any"}))
    assert questions(load_held_out_rows(tmp_path, settings)) == ["x", "y"]
    one, two = (written(tmp_path, n, [f"{n}{k}" for k in range(20)]) for n in ("a", "b"))
    document = {"mixture": [{"source": one}, {"source": two}]}
    dataset = load_dataset(spec_from({"dataset": document}).dataset, settings)
    provenance = {"spec": {"dataset": document}, "data_hash": split_hash(dataset, 0.1)}
    (tmp_path / "provenance.json").write_text(json.dumps(provenance))
    assert questions(load_held_out_rows(tmp_path, settings)) == questions(
        split_rows(dataset, 0.1, 0)[1]
    )


def test_filters_leave_rows_out_and_count_them(tmp_path, settings):
    asked = ["one", "two", "two", "three goats", "a much longer question", "one"]
    source = written(tmp_path, "rows", asked)
    every = {
        "min_characters": 4,
        "max_characters": 15,
        "drop_matching": "(?i)GOAT",
        "drop_duplicates": True,
    }
    dataset = loaded(settings, source=source, filters=every)
    assert questions(dataset.rows) == ["one", "two"]
    assert [row.number for row in dataset.rows] == [1, 2]
    assert {one.filter: one.rows for one in dataset.removed} == {
        "min_characters": 0,
        "max_characters": 1,
        "drop_matching": 1,
        "drop_duplicates": 2,
    }
    kept = loaded(settings, source=source, filters={"keep_matching": r"^t\w+"})
    assert questions(kept.rows) == ["two", "two", "three goats"]
    with pytest.raises(EngineError, match="none of the 6 rows"):
        loaded(settings, source=source, filters={"keep_matching": "no such text"})


def test_duplicates_are_left_out_across_sets_and_the_first_stays(tmp_path, settings):
    one = written(tmp_path, "one", ["a", "b", "a"])
    two = written(tmp_path, "two", ["b", "c", "c"])
    mixture = [{"source": one}, {"source": two}]
    dataset = loaded(settings, mixture=mixture, filters={"drop_duplicates": True})
    assert questions(dataset.rows) == ["a", "b", "c"]
    assert [one.rows for one in dataset.removed] == [3]
    assert [dataset.named_row(row.number) for row in dataset.rows][2] == f"row 2 of {two}"


def test_a_pattern_that_would_run_for_ever_is_stopped_and_named(tmp_path, settings, monkeypatch):
    monkeypatch.setattr(filters, "ROW_S", 0.1)
    source = written(tmp_path, "rows", ["what is x or y? " * 20])
    slow = r"(.*)(.*)(.*)(.*)(.*)(.*)(.*)\1x\2y$"
    with pytest.raises(EngineError) as error:
        loaded(settings, source=source, filters={"drop_matching": slow})
    assert "dataset.filters.drop_matching" in error.value.problem
    assert "row 1" in error.value.problem


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"filters": {"keep_matching": "("}}, "dataset.filters.keep_matching"),
        ({"filters": {"min_characters": 9, "max_characters": 3}}, "dataset.filters"),
        ({"mixture": [{"weight": 1.0}]}, "dataset.mixture.0.source"),
        ({"mixture": [{"source": "x", "weight": 0.0}]}, "dataset.mixture.0.weight"),
        ({"source": "other", "mixture": [{"source": "x"}]}, "dataset"),
        ({"mixture": [{"source": "x"}], "eval_split": "test"}, "dataset"),
        ({"split": "../train"}, "dataset.split"),
        ({"split": "train[:10%"}, "dataset.split"),
        ({"config": "../x"}, "dataset.config"),
        ({"eval_split": "a b"}, "dataset.eval_split"),
    ],
)
def test_a_wrong_field_is_named(document, path):
    with pytest.raises(InvalidInput) as error:
        spec_from({"dataset": document})
    assert [problem.path for problem in error.value.problems] == [path]


def test_with_a_mixture_a_source_left_out_is_the_first_ones():
    assert spec_of(mixture=[{"source": "x"}, {"source": "y"}]).source == "x"
    assert spec_of(source="y", mixture=[{"source": "x"}, {"source": "y"}]).sources == ("x", "y")


def test_a_file_has_neither_configuration_nor_split(tmp_path, settings):
    source = written(tmp_path, "rows", ["a"])
    for fields in ({"config": "en"}, {"split": "test"}, {"eval_split": "test"}):
        with pytest.raises(EngineError, match="no set on the hub"):
            loaded(settings, source=source, **fields)


def test_the_preview_counts_every_set_and_shows_rows_of_each(tmp_path, settings, tokenizer):
    one = written(tmp_path, "one", [f"a{n}" for n in range(30)])
    two = written(tmp_path, "two", [f"b{n}" for n in range(10)])
    mixture = [{"source": one}, {"source": two}]
    every = {"drop_matching": "a29"}
    shown = preview(spec_of(mixture=mixture, filters=every), tokenizer, 64, 3, settings)
    assert [example.where for example in shown.examples] == [
        f"row 1 of {one}",
        f"row 1 of {two}",
        f"row 2 of {one}",
    ]
    assert (shown.counts.training, shown.counts.evaluation) == (35, 4)
    assert [(one.rows, one.trained, one.epoch, one.evaluated) for one in shown.counts.sets] == [
        (29, 18, 18, 3),
        (10, 9, 17, 1),
    ]
    assert [(one.filter, one.rows) for one in shown.removed] == [("drop_matching", 1)]
    alone = preview(spec_of(source=one, eval_source=two), tokenizer, 64, 1, settings)
    assert [(one.trained, one.evaluated) for one in alone.counts.sets] == [(30, 0), (0, 10)]
    same = preview(spec_of(source=written(tmp_path, "s", ["a"])), tokenizer, 64, 1, settings)
    assert "one row" in same.warnings[0]
    assert same.counts.evaluation == 0


def test_the_command_line_previews_a_spec_and_single_fields(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_DATA_DIR", str(tmp_path))
    source = written(tmp_path, "rows", [f"a{n}" for n in range(20)])
    held = written(tmp_path, "held", ["a3", "x"])
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps({"dataset": {"source": source, "filters": {"drop_matching": "a7"}}}))
    run = CliRunner().invoke
    asked = ["preview", "--spec", str(spec), "--field", f"eval_source={held}", "--json"]
    shown = json.loads(run(build(), asked).stdout)
    assert shown["counts"]["training"] == 18
    assert shown["counts"]["evaluation"] == 2
    assert shown["removed"] == [{"filter": "drop_matching", "what": "that match", "rows": 1}]
    for wrong in (["preview"], ["preview", source, "--field", "split"]):
        assert isinstance(run(build(), wrong).exception, EngineError)
    nested = run(build(), ["preview", source, "--field", "source.x=1"]).exception
    assert isinstance(nested, InvalidInput)
