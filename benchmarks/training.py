"""How fast a training step is, side by side with what people would use instead, in one run.

    python benchmarks/training.py [--json] [--architecture llama] [--steps 12] [--rounds 2]
                                  [--contender NAME ...] [--supervised 0.6] [--threads N]
                                  [--worker-start]

Every contender trains the same random model (hidden 256, 6 layers, MLP 688, vocabulary 8,192;
9M parameters as a Llama) with a rank-8 adapter on all linear layers, on the same rows of 20 to
400 tokens, batches of 8 in the same order, in a process of its own. Reported for each: tokens a
second without padding (the first two steps left out; the median over rounds), by the clock and by
processor time; the largest relative difference of a step's loss to plain Trainer's in float32;
the peak of resident memory, and that peak above what was resident before the first step. TRL is
measured where installed. `--worker-start` times a worker from its start to its first step as
well. On a busy machine use `--threads 1` and read the tokens a second of processor time.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import _path  # noqa: F401

from lora_engine.data import TokenizedRow
from lora_engine.training.batches import IGNORED
from lora_engine.training.plan import Plan, make_plan
from lora_engine.training.spec import RunSpec, spec_from

MIB = 2**20
VOCABULARY = 8192
WARMUP_STEPS = 2
LLAMA_SIZES = {
    "hidden_size": 256,
    "intermediate_size": 688,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}
NO_DROPOUT = {"attention_dropout": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
GPT2_SIZES = {"n_embd": 256, "n_inner": 688, "n_layer": 6, "n_head": 4, "n_positions": 512}


@dataclass(frozen=True)
class Job:
    """What every contender is given."""

    folder: str
    steps: int
    supervised: float
    threads: int | None = None

    @property
    def model(self) -> str:
        return str(Path(self.folder) / "model")

    def spec(self) -> RunSpec:
        optimization = {
            "learning_rate": 2e-4,
            "batch_size": 8,
            "max_steps": self.steps,
            "warmup_ratio": 0.0,
            "schedule": "constant",
        }
        return spec_from({"optimization": optimization})

    def rows(self) -> list[TokenizedRow]:
        """Rows of 20 to 400 random tokens; the last `supervised` share of each has a loss."""
        source = random.Random(0)
        rows = []
        for number in range(8 * self.steps):
            length = source.randint(20, 400)
            ids = tuple(source.randrange(10, VOCABULARY) for _ in range(length))
            asked = int(length * (1 - self.supervised))
            labels = (IGNORED,) * asked + ids[asked:]
            rows.append(TokenizedRow(number, ids, labels, False))
        return rows

    def plan(self) -> Plan:
        spec = self.spec()
        lengths = [len(row.input_ids) for row in self.rows()]
        return make_plan(lengths, spec.optimization, spec.seed)

    def rows_in_order(self) -> list[TokenizedRow]:
        """The rows as the steps of the plan take them."""
        rows, plan = self.rows(), self.plan()
        steps = range(1, self.steps + 1)
        return [rows[i] for step in steps for batch in plan.batches(step) for i in batch]


class Recorder:
    """Losses and clock of the steps, and the memory before the first."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.ends: list[tuple[float, float]] = []  # wall clock, processor time; seconds
        self.before = 0

    def start(self) -> None:
        import psutil

        self.before = psutil.Process().memory_info().rss

    def step(self, loss: float) -> None:
        self.losses.append(loss)
        self.ends.append((time.perf_counter(), time.process_time()))

    def report(self, job: Job) -> dict:
        lengths = [len(row.input_ids) for row in job.rows_in_order()]
        tokens = sum(lengths[8 * WARMUP_STEPS :])
        first, last = self.ends[WARMUP_STEPS - 1], self.ends[-1]
        wall, processor = last[0] - first[0], last[1] - first[1]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return {
            "losses": self.losses,
            "tokens_per_s": tokens / wall,
            "tokens_per_cpu_s": tokens / processor,
            "peak_mib": peak / MIB,
            "above_mib": (peak - self.before) / MIB,
        }


def load_adapted(job: Job, dtype: str = "float32"):
    """The model with the adapter that every contender starts from."""
    import torch
    from transformers import AutoModelForCausalLM

    from lora_engine.training import adapter_model

    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(job.model, dtype=getattr(torch, dtype))
    return adapter_model.add_adapter(base, job.spec().method, quantized=False)


def ours(job: Job, recorder: Recorder, precision: str) -> str:
    """Our loop on the path that it chooses itself."""
    from lora_engine.training import optimizers
    from lora_engine.training.choosing import choose_path
    from lora_engine.training.loop import Hooks, Position, train

    spec, rows = job.spec(), job.rows()
    model = load_adapted(job, precision)
    optimizer = optimizers.make_optimizer(model, spec.method, spec.optimization)
    path = choose_path(model, rows, 0, "cpu")
    hooks = Hooks(
        should_stop=lambda: False,
        on_step=lambda row: recorder.step(row.loss),
        save=lambda _: None,
        memory_bytes=lambda: 0,
    )
    recorder.start()
    train(path, optimizer, rows, [], job.plan(), spec.optimization, Position(), hooks)
    return path.description


def with_trainer(job: Job, recorder: Recorder, collator, **arguments) -> None:
    """transformers' Trainer on the rows in the plan's order."""
    from transformers import Trainer, TrainingArguments

    settings = TrainingArguments(**trainer_arguments(job), **arguments)
    recording = record_steps(Trainer, recorder)
    rows = [
        {"input_ids": list(row.input_ids), "labels": list(row.labels)}
        for row in job.rows_in_order()
    ]
    trainer = recording(load_adapted(job), settings, train_dataset=rows, data_collator=collator)
    recorder.start()
    trainer.train()


def plain_trainer(job: Job, recorder: Recorder, **arguments) -> str:
    from transformers import DataCollatorForSeq2Seq

    with_trainer(job, recorder, DataCollatorForSeq2Seq(tokenizer(job), padding=True), **arguments)
    return "Trainer + PEFT, padded to the longest row of the batch"


def flattening_trainer(job: Job, recorder: Recorder) -> str:
    from transformers import DataCollatorWithFlattening

    with_trainer(job, recorder, DataCollatorWithFlattening())
    return "Trainer + PEFT, DataCollatorWithFlattening"


def with_trl(job: Job, recorder: Recorder, **arguments) -> str:
    """TRL's SFTTrainer on the rows in the plan's order."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = [
        {"input_ids": list(row.input_ids), "labels": list(row.labels)}
        for row in job.rows_in_order()
    ]
    settings = SFTConfig(
        **trainer_arguments(job), max_length=None, **arguments,
        dataset_kwargs={"skip_prepare_dataset": True},
    )  # fmt: skip
    trainer = record_steps(SFTTrainer, recorder)(
        load_adapted(job),
        settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer(job),
    )
    recorder.start()
    trainer.train()
    return f"SFTTrainer {arguments or 'with its defaults'}"


def trainer_arguments(job: Job) -> dict:
    """The job in Trainer's words; everything else is Trainer's default."""
    return {
        "output_dir": str(Path(job.folder) / "out"),
        "per_device_train_batch_size": 8,
        "max_steps": job.steps,
        "learning_rate": job.spec().optimization.learning_rate,
        "lr_scheduler_type": "constant",
        "train_sampling_strategy": "sequential",
        "remove_unused_columns": False,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
    }


def record_steps(base: type, recorder: Recorder) -> type:
    """A Trainer class that tells the recorder of every step."""
    from transformers import TrainerCallback

    class Ended(TrainerCallback):
        def on_step_end(self, *_, **__):
            recorder.step(losses.pop())

    losses: list[float] = []

    class Recording(base):
        def __init__(self, *arguments, **keywords):
            super().__init__(*arguments, **keywords)
            self.add_callback(Ended())

        def training_step(self, *arguments, **keywords):
            loss = super().training_step(*arguments, **keywords)
            losses.append(float(loss))
            return loss

    return Recording


def tokenizer(job: Job):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(job.model)


CONTENDERS: dict[str, Callable[[Job, Recorder], str]] = {
    "trainer": plain_trainer,
    "trainer_bf16": lambda job, recorder: plain_trainer(job, recorder, bf16=True),
    "trainer_flattening": flattening_trainer,
    "trl_defaults": with_trl,
    "trl_padding_free": lambda job, recorder: with_trl(
        job, recorder, padding_free=True, bf16=False, gradient_checkpointing=False
    ),
    "ours_float32": lambda job, recorder: ours(job, recorder, "float32"),
    "ours_bfloat16": lambda job, recorder: ours(job, recorder, "bfloat16"),
}
NEEDS = {"trl_defaults": "trl", "trl_padding_free": "trl"}


def make_model(folder: Path, architecture: str) -> None:
    """A random model and a tokenizer of the same vocabulary, as any model lies on a disk."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    words = {f"<{number}>": number for number in range(VOCABULARY)}
    inner = Tokenizer(models.WordLevel(words, unk_token="<0>"))
    PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<0>", bos_token="<1>", eos_token="<2>", unk_token="<0>"
    ).save_pretrained(folder)
    sizes = GPT2_SIZES if architecture == "gpt2" else LLAMA_SIZES
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        architecture, vocab_size=VOCABULARY, **sizes, **special, **NO_DROPOUT
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)


def run_contender(name: str, job: Job) -> dict:
    """One contender in a process of its own, so that memory and imports are its own."""
    command = [sys.executable, __file__, "--inside", name, "--job", json.dumps(asdict(job))]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    if ended.returncode != 0:
        raise SystemExit(f"{name} failed:\n{ended.stderr[-3000:]}")
    return json.loads(ended.stdout.splitlines()[-1])


def inside(name: str, job: Job) -> None:
    """The body of a contender's process: train, then print the report as the last line."""
    if job.threads:
        import torch

        torch.set_num_threads(job.threads)
    recorder = Recorder()
    description = CONTENDERS[name](job, recorder)
    print(json.dumps({"description": description, **recorder.report(job)}))


def measure(options: argparse.Namespace, names: list[str]) -> dict[str, dict]:
    """Contender to its figures; contenders take turns, so that a busy moment hits them alike."""
    results: dict[str, list[dict]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        job = Job(folder, options.steps, options.supervised, options.threads)
        make_model(Path(job.model), options.architecture)
        for _ in range(options.rounds):
            for name in names:
                results[name].append(run_contender(name, job))
    return summarize(results)


def summarize(results: dict[str, list[dict]]) -> dict[str, dict]:
    reference = results["trainer"][0]["losses"]
    trainer_speed = statistics.median(run["tokens_per_s"] for run in results["trainer"])
    trainer_cpu = statistics.median(run["tokens_per_cpu_s"] for run in results["trainer"])
    trainer_peak = statistics.median(run["peak_mib"] for run in results["trainer"])
    table = {}
    for name, runs in results.items():
        speed = statistics.median(run["tokens_per_s"] for run in runs)
        peak = statistics.median(run["peak_mib"] for run in runs)
        cpu = statistics.median(run["tokens_per_cpu_s"] for run in runs)
        pairs = zip(runs[0]["losses"], reference, strict=True)
        table[name] = {
            "tokens_per_s": round(speed),
            "runs": [round(run["tokens_per_s"]) for run in runs],
            "times_trainer": round(speed / trainer_speed, 2),
            "tokens_per_cpu_s": round(cpu),
            "times_trainer_cpu": round(cpu / trainer_cpu, 2),
            "loss_difference": max(abs(a - b) / b for a, b in pairs),
            "peak_mib": round(peak),
            "peak_share": round(peak / trainer_peak, 2),
            "above_mib": round(statistics.median(run["above_mib"] for run in runs)),
            "what": runs[0]["description"],
        }
    return table


def worker_start_s(repeats: int = 3) -> list[float]:
    """Seconds from a worker's start to its first logged step: the starter, the pirate rows."""
    from lora_engine.training.run_directory import RunDirectory

    seconds = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            directory = RunDirectory(Path(folder) / "run")
            directory.create(spec_from({"optimization": {"max_steps": 1}}))
            environment = {**os.environ, "LORA_DATA_DIR": folder}
            started = time.time()
            command = [sys.executable, "-m", "lora_engine.training.worker", str(directory.path)]
            root = Path(__file__).resolve().parents[1]
            subprocess.run(command, env=environment, cwd=root, check=True, capture_output=True)
            seconds.append(round(directory.metrics_path.stat().st_mtime - started, 2))
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--architecture", default="llama")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--supervised", type=float, default=0.6)
    parser.add_argument("--contender", choices=CONTENDERS, action="append")
    parser.add_argument("--worker-start", action="store_true")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        return inside(options.inside, Job(**json.loads(options.job)))
    wanted = ["trainer", *(options.contender or CONTENDERS)]
    missing = {name for name, package in NEEDS.items() if not importlib.util.find_spec(package)}
    names = [name for name in dict.fromkeys(wanted) if name not in missing]
    report = {
        "architecture": options.architecture,
        "steps": options.steps,
        "threads": options.threads,
        "supervised": options.supervised,
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "load_before": os.getloadavg()[0],
        "absent": sorted(missing),
        "contenders": measure(options, names),
    }
    if options.worker_start:
        report["worker_start_s"] = worker_start_s()
    return print(json.dumps(report, indent=1)) if options.json else print_table(report)


def print_table(report: dict) -> None:
    print(f"{report['architecture']}, {report['machine']}, load {report['load_before']:.1f}")
    print(
        f"{'':20}{'tokens/s':>9}{'× Trainer':>11}{'per CPU s':>11}{'× Trainer':>11}"
        f"{'loss diff':>11}{'peak MiB':>10}{'share':>7}"
    )
    for name, row in report["contenders"].items():
        print(
            f"{name:20}{row['tokens_per_s']:>9,}{row['times_trainer']:>11.2f}"
            f"{row['tokens_per_cpu_s']:>11,}{row['times_trainer_cpu']:>11.2f}"
            f"{row['loss_difference']:>11.1e}{row['peak_mib']:>10,}{row['peak_share']:>7.2f}"
        )
    if report["absent"]:
        print(f"not installed: {', '.join(report['absent'])}")
    if "worker_start_s" in report:
        print(f"worker start to first step: {report['worker_start_s']} s")


if __name__ == "__main__":
    main()
