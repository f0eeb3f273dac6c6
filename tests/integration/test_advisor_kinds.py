"""Judgements of classifiers and of QLoRA runs: they repeat what the runs themselves measured."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from lora_engine.advisor.judgement_report import RankJudgement
from lora_engine.advisor.loss_tables import MIXED_BASES
from lora_engine.cancellation import Stopped, StopSignal
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.run_folder import MetricsRow
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec
from tests.judged_runs import finish_run
from tests.tiny_classifier import save_tiny_bert, sentences
from tests.training_runs import tiny_spec

pytestmark = pytest.mark.slow

DRAWS = 300
STEPS = {"batch_size": 8, "max_steps": 40, "learning_rate": 0.01, "eval_every": 40}
NF4 = {"bits": 4, "type": "nf4", "double": True}


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(Settings(data_dir=tmp_path, models_dir=tmp_path / "models", device="cpu"))


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("models") / "tiny-bert")


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return path


def last_evaluation(engine: Engine, run: str) -> MetricsRow:
    rows = engine.runs.directory(run).metrics()
    return [row for row in rows if row.eval_loss is not None][-1]


def assert_as_evaluated(judged: RankJudgement, own: MetricsRow) -> None:
    assert judged.eval_loss == pytest.approx(own.eval_loss, rel=1e-4)
    assert (judged.accuracy, judged.f1) == (own.eval_accuracy, own.eval_f1)


def test_sorted_texts_are_judged_as_the_runs_evaluated_them(
    engine: Engine, tiny_bert: Path, tmp_path: Path
) -> None:
    texts = [{"text": " ".join(words), "label": name} for words, _, name in sentences(160)]
    rows = write(tmp_path / "texts.jsonl", texts)
    for rank, seed in ((1, 0), (4, 0), (4, 1)):
        spec = tiny_spec(
            tiny_bert,
            rows,
            task="sequence_classification",
            dataset={"eval_fraction": 0.25},
            optimization=STEPS,
            method={"rank": rank},
            seed=seed,
        )
        finish_run(engine.settings, f"r{rank}-{seed}", spec)

    found = engine.advisor.judge(["r1-0", "r4-0"], draws=DRAWS)
    assert found.base_loss == pytest.approx(math.log(2))
    for judged, run in zip(found.ranks, ("r1-0", "r4-0"), strict=True):
        assert_as_evaluated(judged, last_evaluation(engine, run))
        assert judged.forgetting is None
    small, large = found.ranks
    assert small.eval_loss - large.eval_loss == pytest.approx(
        small.interval.mean - large.interval.mean, abs=1e-6
    )
    assert {"accuracy", "f1"} <= set(found.to_json()["ranks"][0])

    seeds = engine.advisor.judge(["r4-0", "r4-1"], draws=DRAWS).ranks[0]
    own = [last_evaluation(engine, run) for run in ("r4-0", "r4-1")]
    assert [one.eval_loss for one in seeds.seeds] == pytest.approx(
        [one.eval_loss for one in own], rel=1e-4
    )
    assert seeds.accuracy == pytest.approx(sum(one.eval_accuracy or 0 for one in own) / 2)

    engine.advisor.advise_after("r4-0")
    write(rows, [{**row, "label": row["label"].upper()} for row in texts])
    with pytest.raises(EngineError, match="ANIMAL"):
        engine.advisor.judge(["r1-0", "r4-0"], draws=DRAWS)


def test_tagged_words_are_judged_over_labels_and_a_lost_head_is_refused(
    engine: Engine, tiny_bert: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    tagged = [{"tokens": words, "tags": tags} for words, tags, _ in sentences(120)]
    spec = tiny_spec(
        tiny_bert,
        write(tmp_path / "tagged.jsonl", tagged),
        task="token_classification",
        dataset={"eval_fraction": 0.25},
        optimization=STEPS,
        method={"rank": 2},
    )
    finish_run(engine.settings, "tags", spec)
    found = engine.advisor.judge(["tags"], draws=DRAWS)
    assert_as_evaluated(found.ranks[0], last_evaluation(engine, "tags"))
    assert found.base_loss == pytest.approx(math.log(3))

    weights = engine.runs.directory("tags").adapter_path / "adapter_model.safetensors"
    kept = {name: one for name, one in load_file(weights).items() if "classifier" not in name}
    save_file(kept, weights)
    with pytest.raises(EngineError, match="classifier"):
        engine.advisor.judge(["tags"], draws=DRAWS)


def test_answers_that_equal_the_reference_are_counted_where_they_are_short(
    engine: Engine, tmp_path: Path
) -> None:
    questions = [{"prompt": f"What is {n}?", "completion": "Aye."} for n in range(16)]
    rows = write(tmp_path / "rows.jsonl", questions)
    learns = {"max_steps": 12, "eval_every": 12}
    for rank, rate in ((1, 1e-6), (8, 2e-2)):
        spec = qlora(rows, rank, None)
        optimization = spec.optimization.model_copy(update={**learns, "learning_rate": rate})
        finish_run(
            engine.settings, f"a{rank}", spec.model_copy(update={"optimization": optimization})
        )
    found = engine.advisor.judge(["a1", "a8"], draws=DRAWS, rows=6)
    assert [one.answers_equal for one in found.ranks] == [0.0, 1.0]
    assert found.to_json()["ranks"][1]["answers_equal"] == 1.0

    long = [{"prompt": one["prompt"], "completion": "Aye, matey. " * 20} for one in questions]
    write(rows, long[:5] + questions[5:6] + long[6:])
    found = engine.advisor.judge(["a1", "a8"], draws=DRAWS, rows=6)
    assert [one.answers_equal for one in found.ranks] == [None, None]


def qlora(rows: Path, rank: int, quantization: dict | None) -> RunSpec:
    return tiny_spec(
        Path("starter"),
        rows,
        dataset={"eval_fraction": 0.5},
        method={"rank": rank, "target_modules": ["q_proj", "v_proj"]},
        optimization={"max_steps": 4, "eval_every": 4},
        quantization=quantization,
    )


def test_qlora_runs_are_judged_on_the_base_that_they_trained_on(
    engine: Engine, tmp_path: Path
) -> None:
    rows = write(
        tmp_path / "rows.jsonl",
        [{"prompt": f"What is {n}?", "completion": f"It is {n}."} for n in range(16)],
    )
    finish_run(engine.settings, "q2", qlora(rows, 2, NF4))
    finish_run(engine.settings, "q4", qlora(rows, 4, NF4))
    finish_run(engine.settings, "plain", qlora(rows, 8, None))

    found = engine.advisor.judge(["q2", "q4"], draws=DRAWS, rows=8)
    for judged, run in zip(found.ranks, ("q2", "q4"), strict=True):
        assert_as_evaluated(judged, last_evaluation(engine, run))
    assert MIXED_BASES not in found.notes

    assert all(one.answers_equal == 0.0 for one in found.ranks)  # four steps teach no numbers

    mixed = engine.advisor.judge(["q2", "plain"], draws=DRAWS, rows=8)
    own = last_evaluation(engine, "q2").eval_loss
    assert mixed.ranks[0].eval_loss != pytest.approx(own, rel=1e-4)
    assert_as_evaluated(mixed.ranks[1], last_evaluation(engine, "plain"))
    assert MIXED_BASES in mixed.notes


def test_the_judging_of_classifiers_stops_when_asked(
    engine: Engine, tiny_bert: Path, tmp_path: Path
) -> None:
    texts = [{"text": " ".join(words), "label": name} for words, _, name in sentences(24)]
    spec = tiny_spec(
        tiny_bert,
        write(tmp_path / "texts.jsonl", texts),
        task="sequence_classification",
        dataset={"eval_fraction": 0.25},
        optimization={"max_steps": 1},
    )
    finish_run(engine.settings, "one", spec)
    stop = StopSignal()
    stop.set()
    with pytest.raises(Stopped):
        engine.advisor.judge(["one"], draws=DRAWS, stop=stop)
