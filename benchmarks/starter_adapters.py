"""The bundled examples, trained as a person would: how long, and does the adapter do its thing.

    python benchmarks/starter_adapters.py [--json] [--dataset pirate] [--contract]

For each bundled dataset the example's spec is submitted to a fresh data folder, the time from
the click to the finished adapter is taken, and 50 held-out prompts are answered by the base and
by the adapter, greedily, in one batch. `--contract` trains with the spec of the contract (a
learning rate of 2e-4) instead of the example's.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict, dataclass

import _path  # noqa: F401

from lora_engine.compare.generate.prompt_set import PromptAnswers
from lora_engine.compare.prompts.prompt_file import read_prompts
from lora_engine.engine import Engine
from lora_engine.environment import load_settings
from lora_engine.generation.sampling import Sampling
from lora_engine.runs.states import ACTIVE, RunState
from lora_engine.spec import RunSpec, recipe_spec, spec_from
from lora_engine.starter import DATASET_NAMES, heldout_path
from lora_engine.starter.checks import (
    gives_number,
    is_json_object,
    is_pirate,
    is_polite,
    keeps_meaning,
)

PROMPTS = 50


@dataclass(frozen=True)
class Figures:
    """Shares are of the held-out prompts; times in seconds."""

    dataset: str
    click_to_adapter_s: float
    training_s: float
    tokens_per_s: float
    steps: int
    eval_loss: float | None
    in_style_base: float
    in_style_adapted: float
    meaning_kept: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--dataset", choices=DATASET_NAMES, action="append")
    parser.add_argument("--contract", action="store_true")
    options = parser.parse_args()
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(load_settings({"LORA_DATA_DIR": folder}))
        for name in options.dataset or DATASET_NAMES:
            spec = contract_spec(name) if options.contract else recipe_spec(name)
            figures.append(measure(engine, name, spec))
            if not options.json:
                _print(figures[-1])
    if options.json:
        print(json.dumps([asdict(item) for item in figures], indent=1))


def contract_spec(name: str) -> RunSpec:
    return spec_from({"name": f"{name} r8", "dataset": {"source": f"starter:{name}"}})


def measure(engine: Engine, name: str, spec: RunSpec) -> Figures:
    started = time.perf_counter()
    run_id = engine.runs.submit(spec).id
    while engine.runs.get(run_id).record.state in (RunState.QUEUED, *ACTIVE):
        time.sleep(0.2)
        engine.runs.refresh()
    seconds = time.perf_counter() - started
    run = engine.runs.get(run_id)
    if run.record.state is not RunState.FINISHED:
        raise SystemExit(f"the {name} run {run.record.state}:\n{engine.runs.log_tail(run_id)}")

    path = heldout_path(name)
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()[:PROMPTS]]
    prompts = read_prompts(path)[:PROMPTS]
    asked = engine.compare.answer_prompts(
        "starter", [run_id], prompts, Sampling(max_new_tokens=64)
    ).prompts
    base, adapted = _texts(asked, 0), _texts(asked, 1)
    in_style = {"pirate": is_pirate, "json": is_json_object, "polite": is_polite}.get(name)
    is_right = gives_number if name == "sums" else keeps_meaning
    kept = [is_right(row, text) for row, text in zip(rows, adapted, strict=True)]
    if in_style is None:
        # New facts and sums have no style: what counts is whether the answer is right.
        before = [is_right(row, text) for row, text in zip(rows, base, strict=True)]
        after = kept
    else:
        before, after = map(in_style, base), map(in_style, adapted)
    return Figures(
        dataset=name,
        click_to_adapter_s=round(seconds, 1),
        training_s=run.result.elapsed_s,
        tokens_per_s=run.result.tokens_per_s,
        steps=run.result.steps,
        eval_loss=run.result.eval_loss,
        in_style_base=sum(before) / len(rows),
        in_style_adapted=sum(after) / len(rows),
        meaning_kept=sum(kept) / len(rows),
    )


def _texts(asked: tuple[PromptAnswers, ...], column: int) -> list[str]:
    return [item.answers[column].text for item in asked]


def _print(figures: Figures) -> None:
    print(
        f"{figures.dataset}: {figures.click_to_adapter_s:.1f} s from click to adapter "
        f"({figures.steps} steps, {figures.tokens_per_s:,.0f} tokens/s); on {PROMPTS} held-out "
        f"prompts in style: base {figures.in_style_base:.0%}, adapted "
        f"{figures.in_style_adapted:.0%}; meaning kept {figures.meaning_kept:.0%}"
    )


if __name__ == "__main__":
    main()
