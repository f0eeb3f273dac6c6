"""Resizing and combining from the command line, and measured on rows: what a person does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lora_engine.__main__ import main
from lora_engine.adapter_operations import WeightedAdapter
from lora_engine.adapter_operations.held_out_at_ranks import usual_ranks
from lora_engine.adapter_operations.service import AdapterOperations
from lora_engine.base_models import fingerprint, resolve_base_model
from lora_engine.cli.adapters import named_weight
from lora_engine.compare.service import Comparisons
from lora_engine.errors import EngineError, NotFound
from lora_engine.settings import Settings
from tests.compare_models import save_adapter


@pytest.fixture
def settings(tmp_path):
    return Settings(data_dir=tmp_path, models_dir=tmp_path / "models", device="cpu")


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """Two adapters of the starter, `one` of known data."""
    library = tmp_path_factory.mktemp("saved")
    base = resolve_base_model("starter", Settings(data_dir=library, models_dir=library))
    folders = [library / name for name in ("one", "two")]
    for seed, folder in enumerate(folders, 1):
        save_adapter(folder, base, seed=seed, r=4, lora_alpha=4)
        provenance = {"base_model": "starter", "base_fingerprint": fingerprint(base)}
        if folder.name == "one":
            spec = {"base_model": "starter", "dataset": {"source": "starter:json"}}
            provenance["spec"] = spec
        (folder / "provenance.json").write_text(json.dumps(provenance), "utf-8")
    return library


@pytest.fixture
def adapters(saved, tmp_path):
    """The two in the library, as folders."""
    library = shutil.copytree(saved, tmp_path / "adapters")
    return [library / name for name in ("one", "two")]


@pytest.fixture
def command(settings, monkeypatch, capsys):
    """The exit code, the JSON document and the words on standard error of one command."""
    monkeypatch.setenv("LORA_DATA_DIR", str(settings.data_dir))

    def run(*words):
        monkeypatch.setattr("sys.argv", ["rankscope", *map(str, words)])
        try:
            code = main()
        except SystemExit as left:
            code = left.code
        printed = capsys.readouterr()
        return code or 0, printed.out, printed.err

    return run


def test_resize_and_combine_say_what_the_contract_names(adapters, command, tmp_path):
    code, out, _ = command("resize", "one", "-o", tmp_path / "small", "--rank", 2, "--json")
    document = json.loads(out)
    assert code == 0
    assert document["new_bytes"] < document["old_bytes"]
    assert all(
        (one["old_rank"], one["new_rank"]) == (4, 2) and 0 < one["energy"] <= 1 and one["name"]
        for one in document["modules"]
    )
    words = ("combine", "one:0.7", "two:-0.3", "-o", tmp_path / "both", "--interference", "--json")
    code, out, _ = command(*words)
    document = json.loads(out)
    assert code == 0
    assert document["error"] < 1e-6
    assert {one["rank"] for one in document["modules"]} == {8}
    assert 0 < document["interference"]["sign_conflict"] < 1
    code, out, _ = command("combine", "one", "two:2", "-o", tmp_path / "less", "--rank", 3)
    assert code == 0
    assert "rank 3" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("resize", "one"), "0 are given"),
        (("resize", "one", "--rank", "2", "--energy", "0.9"), "2 are given"),
        (("resize", "one", "--rank", "99"), "Rank 99"),
        (("resize", "nobody", "--rank", "2"), "nobody"),
        (("combine", "one:0", "two"), "weight"),
        (("combine", "one", "nobody:2"), "nobody"),
        (("combine", ":2"), "':2'"),
        (("combine", "one", "two", "--method", "ties"), "density"),
    ],
)
def test_what_is_wrong_is_said_with_exit_2_and_nothing_written(
    adapters, command, tmp_path, words, said
):
    code, _, err = command(*words, "-o", tmp_path / "out")
    assert code == 2
    assert err.startswith("error: ")
    assert said in err
    assert not (tmp_path / "out").exists()


def test_an_output_that_exists_is_replaced_when_that_is_said(adapters, command, tmp_path):
    words = ("resize", "one", "-o", tmp_path / "out", "--rank")
    assert [command(*words, 2)[0], command(*words, 1)[0]] == [0, 2]
    assert command(*words, 1, "--overwrite")[0] == 0


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("pirate:0.7", ("pirate", 0.7)),
        ("pirate", ("pirate", 1.0)),
        ("a:b", ("a:b", 1.0)),
        ("C:/adapters/x:-2e-1", ("C:/adapters/x", -0.2)),
    ],
)
def test_a_weight_stands_after_the_last_colon(text, meant):
    assert named_weight(text) == meant


def test_losses_at_ranks_are_those_of_the_resized_adapters(settings, adapters):
    operations = AdapterOperations(settings, Comparisons(settings))
    found = operations.held_out_at_ranks("one", [4, 1], rows=3)
    assert [one.rank for one in operations.held_out_at_ranks("one", rows=2).ranks] == [1, 2, 4]
    assert found.rows == 3
    assert [one.rank for one in found.ranks] == [1, 4]
    at_one, whole = found.ranks
    assert whole.loss == pytest.approx(found.loss, abs=1e-4)
    assert abs(at_one.loss - found.loss) > abs(whole.loss - found.loss)
    assert found.loss != found.base_loss
    assert at_one.bytes < whole.bytes
    assert at_one.energy < whole.energy == pytest.approx(1.0)
    assert [one.change for one in found.ranks] == [one.loss - found.loss for one in found.ranks]
    assert whole.general_loss == pytest.approx(found.general_loss, abs=1e-4)
    assert at_one.general_loss != found.general_loss


@pytest.mark.parametrize(
    ("rank", "ranks"),
    [(1, [1]), (6, [1, 2, 4]), (8, [1, 2, 4, 8]), (512, [4, 8, 16, 32, 64, 128, 256, 512])],
)
def test_the_usual_ranks_are_powers_of_two_up_to_the_adapters(rank, ranks):
    assert usual_ranks(rank) == ranks


def test_losses_at_ranks_need_the_adapters_own_rows(settings, adapters):
    operations = AdapterOperations(settings, Comparisons(settings))
    with pytest.raises(NotFound):
        operations.held_out_at_ranks("two", [2])
    for ranks in ([], list(range(1, 14)), [9]):
        with pytest.raises(EngineError):
            operations.held_out_at_ranks("one", ranks)


def test_the_engine_combines_adapters_by_their_names(settings, adapters, tmp_path):
    operations = AdapterOperations(settings, Comparisons(settings))
    named = [WeightedAdapter("one", 0.5), WeightedAdapter("two", 0.5)]
    report = operations.combine(named, tmp_path / "out", rank=4)
    assert report.rank == 4
    met = operations.predicted_interference(named)
    assert {(one.first, one.second) for one in met.modules} == {("one", "two")}


NO_PATHS = ("~nobody-here", "a" * 300, "a" * 1_500, "a/" * 2_000)
WITH_A_NAME = {
    "show": ("show-adapter", "{}"),
    "resize": ("resize", "{}", "-o", "out", "--rank", "2"),
    "combine": ("combine", "one", "{}:0.5", "-o", "out"),
    "merge": ("merge", "{}", "-o", "out"),
    "export": ("export", "{}", "-o", "out"),
    "add": ("add-adapter", "{}"),
    "zip": ("zip-adapter", "{}", "-o", "out.zip"),
    "delete": ("delete-adapter", "{}", "--yes"),
    "the base": ("merge", "one", "-o", "out", "--base", "{}"),
    "the original": ("merge", "one", "-o", "out", "--original", "{}"),
    "the rows": ("merge", "one", "-o", "out", "--rows", "{}"),
    "the base of an export": ("export", "one", "-o", "out", "--base", "{}"),
    "what is extracted": ("extract", "--base", "starter", "--tuned", "{}", "-o", "out"),
    "the output": ("resize", "one", "-o", "{}", "--rank", "2"),
    "the output of a merge": ("merge", "one", "-o", "{}"),
    "the output of an export": ("export", "one", "-o", "{}"),
    "the zip": ("zip-adapter", "one", "-o", "{}"),
}


@pytest.mark.parametrize("name", NO_PATHS, ids=("home", "300", "1500", "4000"))
@pytest.mark.parametrize("place", WITH_A_NAME)
def test_a_name_that_can_be_no_path_is_refused_with_exit_2_wherever_one_is_given(
    adapters, command, tmp_path, monkeypatch, place, name
):
    monkeypatch.chdir(tmp_path)
    before = sorted(path for path in tmp_path.rglob("*") if "runs" not in path.name)
    code, out, err = command(*(word.format(name) for word in WITH_A_NAME[place]))
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert len(err) < 1_500
    assert sorted(path for path in tmp_path.rglob("*") if "runs" not in path.name) == before
