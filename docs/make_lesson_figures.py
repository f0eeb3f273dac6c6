"""Measures what Learn shows of the starter: `python docs/make_lesson_figures.py [SECTION …]`.

    where    the pirate example at rank 8; its loss without each module's update in turn
    energy   the spectra of the updates of full fine-tuning and of LoRA at rank 64
    methods  every method for 60 steps
    memory   what the calculator counts for 7B and 65B

Writes the sections named, or all, into `lora_engine/lesson/measured.json`. All take some minutes
on two quiet cores. The runs' data folder is gone afterwards.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from lora_engine.adapter_operations.losses_beside import losses_beside  # noqa: E402
from lora_engine.base_models import resolve_base_model  # noqa: E402
from lora_engine.engine import Engine  # noqa: E402
from lora_engine.environment import load_settings  # noqa: E402
from lora_engine.lesson.left_out import trials, write_without  # noqa: E402
from lora_engine.lesson.measured import FILE  # noqa: E402
from lora_engine.lesson.memory_notes import computed_memory  # noqa: E402
from lora_engine.measured_methods import MethodsReport, task_spec  # noqa: E402
from lora_engine.settings import Settings  # noqa: E402
from lora_engine.spec import RunSpec, recipe_spec, spec_from, suited_learning_rate  # noqa: E402
from lora_engine.spectrum import compare_checkpoints, describe_adapter  # noqa: E402
from lora_engine.spectrum.metrics import energy_curve  # noqa: E402
from lora_engine.starter import MODEL_DIR  # noqa: E402

LAYERS = 4
METHOD_STEPS = 60
POLL_S = 1.0
DIGITS = 5  # of every measured number in the file
WHOLE = "whole"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*", default=list(SECTIONS), metavar="SECTION")
    parser.add_argument("--output", type=Path, default=FILE)
    options = parser.parse_args()
    found = json.loads(options.output.read_text("utf-8")) if options.output.is_file() else {}
    with tempfile.TemporaryDirectory(prefix="rankscope-lesson-") as folder:
        engine = Engine(load_settings({"LORA_DATA_DIR": folder}))
        for section in options.sections:
            found = {**found, section: SECTIONS[section](engine), "how": how()}
            options.output.write_text(_text(found), "utf-8")


def _text(found: dict[str, Any]) -> str:
    """JSON in which a curve stands on one line."""
    curve = re.compile(r"\[\s+([-\d.,\se]+?)\s+\]")
    text = curve.sub(lambda one: f"[{' '.join(one[1].split())}]", json.dumps(found, indent=1))
    return text + "\n"


def where(engine: Engine) -> dict[str, Any]:
    return _where(engine, _trained(engine, recipe_spec("pirate")) / "adapter")


def energy(engine: Engine) -> list[dict[str, Any]]:
    recipe = recipe_spec("pirate")
    high = _trained(engine, _changed(recipe, rank=64))
    full = _trained(engine, _full(recipe))
    return [
        {"trained": "lora r64", **_energy(_adapter_values(high / "adapter"))},
        {"trained": "full", **_energy(_full_values(full / "model"))},
    ]


def memory(engine: Engine) -> list[dict[str, Any]]:
    del engine  # shapes suffice
    return computed_memory()


def how() -> dict[str, Any]:
    recipe = recipe_spec("pirate")
    return {
        "command": "python docs/make_lesson_figures.py",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{_processor()}, {platform.system()}, no GPU",
        "model": "starter",
        "dataset": recipe.dataset.source,
        "epochs": recipe.optimization.epochs,
        "batch_size": recipe.optimization.batch_size,
        "seed": recipe.seed,
        "method_steps": METHOD_STEPS,
    }


def _processor() -> str:
    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text("utf-8").splitlines() if cpu_info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} × {names[0]}" if names else platform.machine()


def _changed(spec: RunSpec, **method: Any) -> RunSpec:
    """The same run by another method: these fields of `method`, the others at their defaults."""
    document = spec.model_dump(mode="json", exclude_unset=True)
    return spec_from({**document, "name": "lesson", "method": method})


def _full(spec: RunSpec) -> RunSpec:
    document = spec.model_dump(mode="json", exclude_unset=True)
    rate = suited_learning_rate("starter", "full")
    optimization = {**document["optimization"], "learning_rate": rate}
    method = {"finetuning_type": "full"}
    return spec_from({**document, "name": "full", "optimization": optimization, "method": method})


def _trained(engine: Engine, spec: RunSpec) -> Path:
    """The folder of a finished run."""
    run = engine.runs.submit(spec).id
    _told(f"{run}: {spec.method.finetuning_type}, rank {spec.method.rank}")
    while engine.runs.get(run).result is None:
        time.sleep(POLL_S)
        engine.runs.refresh()
    result = engine.runs.get(run).result
    assert result is not None
    assert result.state == "finished", result.error
    return engine.runs.directory(run).path


def _where(engine: Engine, adapter: Path) -> dict[str, Any]:
    """Each module's ‖ΔW‖, and the held-out loss when it is left out."""
    _told("leaving modules out")
    norms = {
        f"{one.layer}.{one.part.rpartition('.')[2]}": one.frobenius_norm
        for one in describe_adapter(adapter).modules
    }
    with tempfile.TemporaryDirectory(prefix="rankscope-left-out-") as folder:
        columns = {WHOLE: adapter} | {
            name: write_without(adapter, Path(folder) / str(number), is_out)
            for number, (name, is_out) in enumerate(trials(LAYERS).items())
        }
        losses, base, rows = _losses(engine, columns)
    return {
        "rank": describe_adapter(adapter).modules[0].rank,
        "rows": rows,
        "base_loss": _rounded(base),
        "loss": _rounded(losses.pop(WHOLE)),
        "left_out": {name: _rounded(loss) for name, loss in losses.items()},
        "norms": {name: _rounded(norm) for name, norm in norms.items()},
    }


def _losses(engine: Engine, columns: Mapping[str, Path]) -> tuple[dict[str, float], float, int]:
    """Each column's loss on the adapter's held-out rows, the base's, and how many rows."""
    settings: Settings = engine.settings
    model = engine.compare.model_of(resolve_base_model("starter", settings), columns)
    measured = losses_beside(model, {WHOLE: columns[WHOLE]}, settings).measured[0]
    losses = {pair.column: pair.loss for pair in measured.pairs}
    return losses, measured.pairs[0].base_loss, measured.pairs[0].rows


def _adapter_values(adapter: Path) -> Iterable[tuple[str, np.ndarray, float]]:
    """name, singular values and ‖ΔW‖² of each module."""
    for one in describe_adapter(adapter).modules:
        yield one.name, one.singular_values, one.frobenius_norm**2


def _full_values(model: Path) -> Iterable[tuple[str, np.ndarray, float]]:
    """The same of each linear layer that full fine-tuning changed."""
    for one in compare_checkpoints(MODEL_DIR, model).modules:
        if ".layers." in one.name and one.decomposition is not None:
            name = one.name.removesuffix(".weight")
            yield name, one.decomposition.singular_values, one.change_norm**2


def _energy(modules: Iterable[tuple[str, np.ndarray, float]]) -> dict[str, Any]:
    """Cumulative energy of each module up to its 64th value, and how many values hold 90 %."""
    curves, holding, norms = {}, {}, {}
    for name, values, total_squared in modules:
        layer, _, part = name.partition(".layers.")[2].partition(".")
        place = f"{layer}.{part.rpartition('.')[2]}"
        energy = energy_curve(values, total_squared)
        curves[place] = [_rounded(share) for share in energy[:64].tolist()]
        holding[place] = int(np.searchsorted(energy, 0.9)) + 1
        norms[place] = _rounded(total_squared**0.5)
    return {"curves": curves, "values_for_90": holding, "norms": norms}


def methods(engine: Engine) -> list[dict[str, Any]]:
    """One row a method, as the Calculator's table has them."""
    _told("every method")
    group = engine.methods.submit(task_spec("starter", "starter:pirate", METHOD_STEPS)).id
    while not engine.methods.report(group).is_over:
        time.sleep(POLL_S)
        engine.runs.refresh()
    return list(_method_rows(engine.methods.measure_answers(group)))


def _method_rows(report: MethodsReport) -> Iterable[dict[str, Any]]:
    for row in report.rows:
        measured = row.measured
        if measured is None:
            continue
        answers = measured.answers
        yield {
            "way": row.way,
            "trained_parameters": measured.trained_parameters,
            "peak_memory_bytes": measured.peak_memory_bytes,
            "eval_loss": None if measured.eval_loss is None else _rounded(measured.eval_loss),
            "times_base": None if answers is None else _rounded(answers.times_base),
        }


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _told(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


SECTIONS: Mapping[str, Callable[[Engine], Any]] = {
    "where": where,
    "energy": energy,
    "methods": methods,
    "memory": memory,
}


if __name__ == "__main__":
    main()
