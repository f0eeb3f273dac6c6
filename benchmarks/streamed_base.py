"""LoRA on a base that is larger than the memory it may use: time, bytes and peak memory of a step.

    python benchmarks/streamed_base.py [--shape 7b] [--quantized] [--limit-gib 4] [--json]

Makes a random model of the shape of Llama-2-7B in bfloat16 on the disk (13.5 GB, one shard a
layer), trains LoRA of rank 8 on it for three steps with `stream_base`, in a process of its own
whose memory is limited (RLIMIT_DATA: what it allocates and maps to write), and deletes the model.
Prints what each step took, what it read, and the largest resident memory (VmHWM). The layers'
numbers are equal to each other; that changes no time.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import _path  # noqa: F401

GIB = 1 << 30
SHAPES = {
    "7b": {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "vocab_size": 32000,
    },
    "tiny": {
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "vocab_size": 4096,
    },
}
ROWS = 32
WORDS = ("one", "two", "three", "four")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shape", choices=SHAPES, default="7b")
    parser.add_argument("--quantized", action="store_true", help="QLoRA: NF4 codes are streamed")
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="float32")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--accumulation", type=int, default=2)
    parser.add_argument("--limit-gib", type=float, default=4.0)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/streamed_base"))
    parser.add_argument("--keep", action="store_true", help="leave the model there")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        print(json.dumps(train(options)))
        return
    try:
        found = measure(options)
    finally:
        if not options.keep:
            shutil.rmtree(options.folder, ignore_errors=True)
    print(json.dumps(found, indent=2) if options.json else in_words(found))


def measure(options: argparse.Namespace) -> dict:
    """Make the model where it is not there, and train in a process with limited memory."""
    model = options.folder / options.shape
    if not (model / "config.json").is_file():
        make_model(model, SHAPES[options.shape])
    limit = int(options.limit_gib * GIB)
    done = subprocess.run(
        [sys.executable, __file__, "--inside", *sys.argv[1:]],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),  # noqa: PLW1509
        stdout=subprocess.PIPE,
        check=True,
    )
    files = sum(path.stat().st_size for path in model.glob("*.safetensors"))
    return {"model_bytes": files, **json.loads(done.stdout.splitlines()[-1])}


def make_model(folder: Path, shape: dict) -> None:
    """A random Llama, written a layer at a time, with the bundled tokenizer beside it."""
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaConfig, LlamaForCausalLM

    from lora_engine.starter import MODEL_DIR

    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(MODEL_DIR / name, folder)
    config = LlamaConfig(**shape, max_position_embeddings=2048)
    config.architectures, config.dtype = ["LlamaForCausalLM"], torch.bfloat16
    with torch.device("meta"):
        skeleton = LlamaForCausalLM(config)
    random, weight_map = torch.Generator().manual_seed(0), {}
    layers: dict[str, dict[str, torch.Size]] = {}
    for name, parameter in skeleton.state_dict().items():
        part = name.split(".")[2] if ".layers." in name else "rest"
        layers.setdefault(part, {})[name] = parameter.shape
    made: dict[str, torch.Tensor] = {}
    for part, shapes in layers.items():
        tensors = {}
        for name, size in shapes.items():
            kind = name.replace(f".layers.{part}.", ".")
            if kind not in made:
                numbers = torch.randn(size, generator=random, dtype=torch.float32)
                made[kind] = torch.ones(size) if "norm" in name else numbers * 0.02
                made[kind] = made[kind].bfloat16()
            tensors[name] = made[kind]
        file = f"model-{part}.safetensors"
        save_file(tensors, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(shapes, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config.save_pretrained(folder)


def spec_document(options: argparse.Namespace) -> dict:
    """The run's spec, of which `rows.jsonl` in the folder holds the rows."""
    document = {
        "base_model": str(options.folder / options.shape),
        "dataset": {"source": str(options.folder / "rows.jsonl"), "eval_fraction": 0.0},
        "method": {"rank": 8},
        "optimization": {
            "stream_base": True,
            "precision": options.precision,
            "batch_size": 2,
            "gradient_accumulation": options.accumulation,
            "max_steps": options.steps,
        },
    }
    if options.quantized:
        document["quantization"] = {"bits": 4}
    return document


def train(options: argparse.Namespace) -> dict:
    """In the limited process: the run's own steps, each timed, with the bytes that it read."""
    from lora_engine.run_folder import RunDirectory
    from lora_engine.settings import Settings
    from lora_engine.spec import spec_from
    from lora_engine.training.loop import TrainingProgress
    from lora_engine.training.preparation import prepare
    from lora_engine.training.skipped_imports import skip_unused_imports
    from lora_engine.training.streaming.streamed_path import StreamedPath
    from lora_engine.training.train_run import ReadyRun

    folder = options.folder
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows())))
    settings = Settings(data_dir=folder / "data", models_dir=folder / "data", device="cpu")
    directory = RunDirectory(folder / f"run-{time.time_ns()}")
    directory.create(spec_from(spec_document(options)))
    started = time.perf_counter()
    run = prepare(directory, settings)
    skip_unused_imports([run.spec])
    ready = ReadyRun(run, False, TrainingProgress())
    path = ready.path
    assert isinstance(path, StreamedPath)
    found: dict = {"ready_s": time.perf_counter() - started, "steps": []}
    ready.begin()
    while not ready.steps.are_done:
        before, begun = path.stream.bytes_read, time.perf_counter()
        tokens = ready.progress.tokens
        ready.steps.make()
        found["steps"].append(
            {
                "seconds": time.perf_counter() - begun,
                "read_bytes": path.stream.bytes_read - before,
                "tokens": ready.progress.tokens - tokens,
            }
        )
    ready.close()
    status = Path("/proc/self/status").read_text()
    (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    prediction = json.loads((directory.path / "prediction.json").read_text())
    parts = ("baseline_bytes", "staying_bytes", "moving_bytes", "margin_bytes")
    return {
        **found,
        "peak_bytes": int(peak) * 1024,
        "predicted_bytes": sum(prediction[part] for part in parts),
        "losses": [row.loss for row in directory.metrics()],
        "limit_gib": options.limit_gib,
        "precision": options.precision,
        "quantized": options.quantized,
    }


def rows() -> list[dict]:
    """Short chats."""
    return [
        {
            "messages": [
                {"role": "user", "content": f"Count to {number % 4 + 1}."},
                {"role": "assistant", "content": " ".join(WORDS[: number % 4 + 1])},
            ]
        }
        for number in range(ROWS)
    ]


def in_words(found: dict) -> str:
    lines = [
        f"a model of {found['model_bytes'] / 1e9:.1f} GB under {found['limit_gib']:g} GiB, "
        f"{found['precision']}{', NF4' if found['quantized'] else ''}; "
        f"ready after {found['ready_s']:.1f} s"
    ]
    for number, step in enumerate(found["steps"], 1):
        lines.append(
            f"step {number}: {step['seconds']:.1f} s, {step['tokens']} tokens, "
            f"{step['read_bytes'] / 1e9:.2f} GB read"
        )
    peak, predicted = found["peak_bytes"] / GIB, found["predicted_bytes"] / GIB
    lines.append(f"peak resident memory {peak:.2f} GiB, predicted {predicted:.2f} GiB")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
