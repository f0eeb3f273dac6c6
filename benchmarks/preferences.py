"""How fast preferences are learned, side by side with TRL's trainers, in one run.

    python benchmarks/preferences.py [--json] [--objective dpo] [--steps 12] [--rounds 2]
                                     [--threads N]

DPO and KTO on the same random model (hidden 256, 6 layers, MLP 688, vocabulary 8,192) with a rank-8
adapter on all linear layers, on the same tokens in the same order and batches of 8 pairs (DPO) or 8
answers (KTO), one epoch, each contender in a process of its own. A question has 12 to 240 tokens,
an answer 8 to 160. Reported: tokens of questions with answers a second, without padding, from the
start of training to its end, the reference's log-probabilities included (TRL computes them in each
step, we once before the first); the largest difference of a step's loss to TRL's; the peak of
resident memory, and that peak above what was resident before training.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import _path  # noqa: F401
from training_contenders import load_adapted, record_steps, trainer_arguments
from training_workload import MIB, VOCABULARY, Recorder, Workload, make_model, tokenizer

from lora_engine.data import TokenizedRow
from lora_engine.data.preference_tokens import JudgedRow, PairRow, PairRows
from lora_engine.spec import RunSpec, spec_from
from lora_engine.training.forward.batches import IGNORED
from lora_engine.training.memory.usage import peak_resident_bytes
from lora_engine.training.plan import Plan, make_plan

BATCH = 8
MAX_LENGTH = 512
OBJECTIVES = ("dpo", "kto")
CONTENDERS = ("trl", "ours")


@dataclass(frozen=True)
class Pairs(Workload):
    """The workload of `training.py` with preferences for its rows."""

    objective: str = "dpo"

    def spec(self) -> RunSpec:
        spec = super().spec()
        return spec_from(
            {
                "objective": {"kind": self.objective},
                "optimization": spec.optimization.model_dump(exclude_none=True),
            }
        )

    def preference_rows(self) -> Sequence[PairRow | JudgedRow]:
        """Enough random rows for the steps: pairs for dpo, judged answers for kto."""
        source = random.Random(0)
        chosen, rejected = [], []
        for number in range(BATCH * self.steps):
            length = source.randint(12, 240)
            asked = tuple(source.randrange(10, VOCABULARY) for _ in range(length))
            for side in (chosen, rejected):
                side.append(_answered(number, asked, source))
        pairs = PairRows(chosen, rejected)
        return pairs if self.objective == "dpo" else pairs.apart()[: BATCH * self.steps]

    def plan(self) -> Plan:
        rows, spec = self.preference_rows(), self.spec()
        return make_plan([len(row.input_ids) for row in rows], spec.optimization, spec.seed)

    def batches(self) -> list[list[PairRow | JudgedRow]]:
        """The rows of each step."""
        rows, plan = self.preference_rows(), self.plan()
        steps = range(1, self.steps + 1)
        return [[rows[i] for i in batch] for step in steps for batch in plan.batches(step)]


def _answered(number: int, asked: tuple[int, ...], source: random.Random) -> TokenizedRow:
    answer = tuple(source.randrange(10, VOCABULARY) for _ in range(source.randint(8, 160)))
    return TokenizedRow(number, asked + answer, (IGNORED,) * len(asked) + answer, False)


def ours(workload: Pairs, recorder: Recorder) -> None:
    """Our loop on the path that it chooses itself; the reference is computed first."""
    from lora_engine.training import product_library
    from lora_engine.training.forward.select import choose_path
    from lora_engine.training.kernels import matmul
    from lora_engine.training.loop import Callbacks, Steps, TrainingData, TrainingProgress
    from lora_engine.training.objectives.preferences import Preferences
    from lora_engine.training.objectives.reference import ReferencedRows, compute_reference
    from lora_engine.training.optimizers import factory

    sizes = product_library.Sizes(1024, 256, 688)
    matmul.use(product_library.measure(sizes).faster)
    spec, rows, plan = workload.spec(), workload.preference_rows(), workload.plan()
    model = load_adapted(workload)
    optimizer = factory.make_optimizer(model, spec.method, spec.optimization)
    path = choose_path(model, rows, 0, "cpu")
    callbacks = Callbacks(
        on_step=lambda row: recorder.step(row.loss),
        save_checkpoint=lambda _: None,
        memory_bytes=lambda: 0,
    )
    recorder.start()
    recorder.step(0.0)  # the clock starts before the reference
    reference = compute_reference(path, rows, [], plan, MAX_LENGTH)
    data = TrainingData(ReferencedRows(rows, reference.training), [], plan)
    objective = Preferences(path, spec.objective, MAX_LENGTH)
    steps = Steps(objective, optimizer, data, spec.optimization, TrainingProgress(), callbacks)
    while not steps.are_done:
        steps.make()


def trl(workload: Pairs, recorder: Recorder) -> None:
    """TRL's trainer with its defaults, on our tokens in our order."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

    is_dpo = workload.objective == "dpo"
    base, config = (DPOTrainer, DPOConfig) if is_dpo else (KTOTrainer, KTOConfig)
    rows = [_judged(batch) if not is_dpo else _paired(batch) for batch in workload.batches()]

    class OnTokens(record_steps(base, recorder)):  # type: ignore[misc]
        def _prepare_dataset(self, dataset, *_, **__):
            return dataset

    settings = config(
        **trainer_arguments(workload), max_length=MAX_LENGTH, bf16=False,
        gradient_checkpointing=False,
    )  # fmt: skip
    trainer = OnTokens(
        load_adapted(workload),
        args=settings,
        train_dataset=Dataset.from_list([row for batch in rows for row in batch]),
        processing_class=tokenizer(workload),
    )
    begun = recorder.start

    def start() -> None:
        begun()
        recorder.step(0.0)

    recorder.start = start  # type: ignore[method-assign]
    trainer.train()


def _paired(batch: Sequence) -> list[dict]:
    found = []
    for row in batch:
        asked = sum(label == IGNORED for label in row.labels)
        found.append(
            {
                "prompt_ids": list(row.input_ids[:asked]),
                "chosen_ids": list(row.input_ids[asked:]),
                "rejected_ids": list(row.rejected.input_ids[asked:]),
            }
        )
    return found


def _judged(batch: Sequence) -> list[dict]:
    """Each row with the answer of the one before it, to estimate the KL with."""
    found = []
    for row in batch:
        asked = sum(label == IGNORED for label in row.labels)
        found.append(
            {
                "prompt_ids": list(row.input_ids[:asked]),
                "completion_ids": list(row.input_ids[asked:]),
                "label": row.is_desirable,
            }
        )
    for row, other in zip(found, [found[-1], *found[:-1]], strict=True):
        row["KL_completion_ids"] = other["completion_ids"]
    return found


def inside(name: str, workload: Pairs) -> None:
    """The body of a contender's process: train, then print the report as the last line."""

    if workload.threads:
        import torch

        torch.set_num_threads(workload.threads)
    recorder = Recorder()
    {"ours": ours, "trl": trl}[name](workload, recorder)
    seconds = recorder.ends[-1][0] - recorder.ends[0][0]
    processor = recorder.ends[-1][1] - recorder.ends[0][1]
    rows = [row for batch in workload.batches() for row in batch]
    tokens = sum(len(row.input_ids) for row in rows)
    if workload.objective == "dpo":
        tokens += sum(len(row.rejected.input_ids) for row in rows)
    peak = peak_resident_bytes()
    report = {
        "losses": recorder.losses[1:],
        "tokens_per_s": tokens / seconds,
        "tokens_per_cpu_s": tokens / processor,
        "peak_mib": peak / MIB,
        "above_mib": (peak - recorder.before) / MIB,
    }
    print(json.dumps(report))


def run_contender(name: str, workload: Pairs) -> dict:
    command = [
        sys.executable,
        __file__,
        "--inside",
        name,
        "--workload",
        json.dumps(asdict(workload)),
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    if ended.returncode != 0:
        raise SystemExit(f"{name} failed:\n{ended.stderr[-3000:]}")
    return json.loads(ended.stdout.splitlines()[-1])


def measure(objective: str, options: argparse.Namespace) -> dict:
    """Both contenders in turn, `rounds` times; medians and ratios."""
    results: dict[str, list[dict]] = {name: [] for name in CONTENDERS}
    with tempfile.TemporaryDirectory() as folder:
        workload = Pairs(folder, options.steps, 0.5, options.threads, objective)
        make_model(Path(workload.model), "llama")
        for _ in range(options.rounds):
            for name in CONTENDERS:
                results[name].append(run_contender(name, workload))
                print(f"{objective}: {name} measured", file=sys.stderr)
    keys = ("tokens_per_s", "tokens_per_cpu_s", "peak_mib", "above_mib")
    found = {
        name: {key: round(statistics.median(run[key] for run in runs)) for key in keys}
        for name, runs in results.items()
    }
    pairs = zip(results["ours"][0]["losses"], results["trl"][0]["losses"], strict=True)
    return {
        **found,
        "times_trl": round(found["ours"]["tokens_per_s"] / found["trl"]["tokens_per_s"], 2),
        "memory_of_trl": round(found["ours"]["peak_mib"] / found["trl"]["peak_mib"], 2),
        "memory_above_of_trl": round(found["ours"]["above_mib"] / found["trl"]["above_mib"], 2),
        "loss_difference": max(abs(a - b) for a, b in pairs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--objective", choices=OBJECTIVES, action="append")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--inside", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--workload", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        inside(options.inside, Pairs(**json.loads(options.workload)))
        return
    started = time.perf_counter()
    figures = {name: measure(name, options) for name in options.objective or OBJECTIVES}
    if options.json:
        print(json.dumps({**figures, "seconds": round(time.perf_counter() - started)}, indent=1))
        return
    for name, found in figures.items():
        print(
            f"{name}: ours {found['ours']['tokens_per_s']:,} tokens/s, TRL "
            f"{found['trl']['tokens_per_s']:,}: {found['times_trl']} x; peak memory "
            f"{found['memory_of_trl']:.0%} of TRL's ({found['memory_above_of_trl']:.0%} of what is "
            f"above the start); losses {found['loss_difference']:.1e} apart"
        )


if __name__ == "__main__":
    main()
