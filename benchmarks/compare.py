"""How fast two columns are answered from one batch, beside plain transformers; and the memory.

    python benchmarks/compare.py [--json] [--rounds 5] [--tokens 128] [--threads 1]

Measured in one process, the ways by turns within each round, and the ratios taken round by
round (the median is shown), so that other work on the machine weighs on all of them alike.
Models: a random Llama of 9M parameters (hidden 256, 6 layers, MLP 688, vocabulary 8192), and the
starter where it has been built. float32 on the CPU; every answer runs to the full length.
`generate` runs on torch's own number of threads, ours on one (see `SharedBase.running`). On a
machine with other work plain generate's threads wait for each other, which flatters us: with
`--threads 1` both have one thread, and the ratios of CPU time hold whatever else runs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import _path  # noqa: F401
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from lora_engine.base_models import BaseModel
from lora_engine.compare.generate.comparison_model import ComparisonModel
from lora_engine.compare.prompts.prompt_tokens import encode_prompts
from lora_engine.data import Message
from lora_engine.generation.sampling import Sampling
from lora_engine.settings import Settings
from lora_engine.starter import MODEL_DIR

PROMPT = [Message("user", "Tell me something about animals, colours and numbers, please.")]
SPECIAL = ["<pad>", "<bos>", "<eos>"]
LIMITS = {"ours_to_generate": 0.6, "two_columns_to_one": 1.6, "add_adapter_s": 0.3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=None, help="for all ways alike")
    options = parser.parse_args()
    torch.set_num_threads(options.threads or torch.get_num_threads())
    report = {"threads": torch.get_num_threads(), "load_average": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as folder:
        bases = [random_llama(Path(folder) / "llama-9m")]
        if (MODEL_DIR / "config.json").is_file():
            bases.append(BaseModel("starter", MODEL_DIR))
        report["models"] = [
            measured(base, Path(folder) / f"of-{base.name}", options.rounds, options.tokens)
            for base in bases
        ]
    report["limits"] = LIMITS
    print(json.dumps(report) if options.json else as_table(report))


def measured(base: BaseModel, folder: Path, rounds: int, tokens: int) -> dict:
    adapters = [random_adapter(folder / str(seed), base, seed) for seed in (1, 2, 3)]
    settings = Settings(data_dir=folder, device="cpu")
    before = resident_mb()
    model = ComparisonModel.load(base, {}, settings)
    loaded = resident_mb()
    parameters = model.shared.model.num_parameters()
    add_s = [timed(lambda path=path: model.add_adapter(path.name, path)).wall for path in adapters]
    with_adapters = resident_mb()
    ways = the_ways(model, base, adapters[0], tokens)
    for way in ways.values():
        way()
    rows = [{name: timed(way) for name, way in ways.items()} for _ in range(rounds)]
    wall = [{name: seconds.wall for name, seconds in row.items()} for row in rows]
    cpu = [{name: seconds.cpu for name, seconds in row.items()} for row in rows]
    seconds = medians(wall)
    return {
        "model": base.name,
        "parameters": parameters,
        "tokens": tokens,
        "seconds": seconds,
        "cpu_seconds": medians(cpu),
        "wall": ratios(wall),
        "cpu": ratios(cpu),
        "tokens_per_s_base": tokens / seconds["ours, base"],
        "tokens_per_s_generate": tokens / seconds["generate, base"],
        "add_adapter_s": {"first": add_s[0], "later": max(add_s[1:])},
        "resident_mb": {
            "before": before,
            "base loaded": loaded,
            "three adapters added": with_adapters,
        },
    }


def the_ways(
    model: ComparisonModel, base: BaseModel, adapter: Path, tokens: int, device: str = "cpu"
) -> dict[str, Callable[[], None]]:
    """Each answers the same prompt with `tokens` tokens a column."""
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    plain = AutoModelForCausalLM.from_pretrained(base.path, dtype=dtype).to(device)
    plain = PeftModel.from_pretrained(plain, adapter).eval()
    plain.generation_config.eos_token_id = None
    model.shared.end_tokens = frozenset()
    tokenizer = model.shared.tokenizer
    (prompt,) = encode_prompts([PROMPT], tokenizer, None, template_is_ours=True)
    choices = {"do_sample": False, "max_new_tokens": tokens}
    choices |= {"eos_token_id": None, "pad_token_id": 0}

    def generate(rows: int = 1, **more: object) -> None:
        ids = torch.tensor([prompt] * rows, device=device)
        output = plain.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), **choices, **more
        )
        assert output.shape[1] == len(prompt) + tokens

    def generate_base() -> None:
        with plain.disable_adapter():
            generate()

    def ours(*columns: str) -> None:
        *_, last = model.answer(dict.fromkeys(columns, PROMPT), Sampling(max_new_tokens=tokens))
        assert all(column.tokens == tokens for column in last.columns.values())

    return {
        "generate, base": generate_base,
        "generate, adapter": generate,
        "generate, mixed batch": lambda: generate(2, adapter_names=["__base__", "default"]),
        "ours, base": lambda: ours("base"),
        "ours, adapter": lambda: ours(adapter.name),
        "ours, two columns": lambda: ours("base", adapter.name),
    }


def random_llama(folder: Path) -> BaseModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=8192,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=1024,
        pad_token_id=256,
        bos_token_id=257,
        eos_token_id=258,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {text: number for number, text in enumerate([*alphabet, *SPECIAL])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    ).save_pretrained(folder)
    return BaseModel("llama-9m", folder)


def random_adapter(folder: Path, base: BaseModel, seed: int) -> Path:
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base.path, dtype=torch.float32)
    adapted = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear"))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    adapted.save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class Seconds:
    wall: float
    cpu: float


def timed(way: Callable[[], object]) -> Seconds:
    wall, cpu = time.perf_counter(), time.process_time()
    way()
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def medians(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def ratios(rows: list[dict[str, float]]) -> dict[str, float]:
    """Each ratio is the median of the rounds' own ratios."""

    def ratio(over: str, *under: str) -> float:
        return statistics.median(row[over] / sum(row[name] for name in under) for row in rows)

    two_generates = ("generate, base", "generate, adapter")
    return {
        "ours_to_generate": ratio("ours, two columns", *two_generates),
        "mixed_generate_to_generate": ratio("generate, mixed batch", *two_generates),
        "two_columns_to_one": ratio("ours, two columns", "ours, base"),
        "two_columns_to_one_adapter": ratio("ours, two columns", "ours, adapter"),
    }


def resident_mb() -> float:
    """Resident set size of this process in MB, from /proc."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def as_table(report: dict) -> str:
    lines = [f"threads {report['threads']}, load average {report['load_average']:.1f}"]
    for model in report["models"]:
        lines.append(f"\n{model['model']}: {model['parameters']:,} parameters")
        for name, wall in model["seconds"].items():
            lines.append(f"  {name:24} {wall:7.3f} s, CPU {model['cpu_seconds'][name]:7.3f} s")
        for name, wall in model["wall"].items():
            lines.append(f"  {name:28} wall {wall:.2f}, CPU {model['cpu'][name]:.2f}")
        lines.append(f"  adding an adapter, seconds            {model['add_adapter_s']}")
        lines.append(f"  resident MB                           {model['resident_mb']}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
