"""The workload of `training.py`, the same for every contender, and the recorder of its figures.

A small random model, rows of random tokens and their order. Knows no contender.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from pathlib import Path

import _path  # noqa: F401

from lora_engine.data import TokenizedRow
from lora_engine.spec import RunSpec, spec_from
from lora_engine.training.forward.batches import IGNORED
from lora_engine.training.memory.usage import peak_resident_bytes
from lora_engine.training.plan import Plan, make_plan

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
HUNDRED_MILLION_SIZES = {  # SmolLM-135M's layers; 111 million weights with our vocabulary
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}
BILLION_SIZES = {  # TinyLlama's, 1.1 billion weights
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 22,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
}
NO_DROPOUT = {"attention_dropout": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
GPT2_SIZES = {"n_embd": 256, "n_inner": 688, "n_layer": 6, "n_head": 4, "n_positions": 512}


@dataclass(frozen=True)
class Workload:
    """What every contender is given.

    size: small, 100m, or 1b for a GPU. stored: what the model's files hold; as `dtype` if empty.
    """

    folder: str
    steps: int
    supervised: float
    threads: int | None = None
    device: str = "cpu"
    size: str = "small"
    stored: str = ""

    @property
    def dtype(self) -> str:
        """Of the frozen weights of the contenders that are not ours."""
        return "float32" if self.device == "cpu" else "bfloat16"

    @property
    def model(self) -> str:
        return str(Path(self.folder) / "model")

    @property
    def adapter(self) -> str:
        """Where the adapter that every contender starts from lies."""
        return str(Path(self.folder) / "adapter")

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
    """Losses and clock of the steps, and the memory before the first.

    Memory is the process's on the CPU, and on CUDA the tensors'.
    """

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.ends: list[tuple[float, float]] = []  # wall clock, processor time; seconds
        self.before = 0

    def start(self) -> None:
        import psutil

        self.before = psutil.Process().memory_info().rss
        if _is_on_gpu():
            import torch

            self.before = torch.cuda.memory_allocated()

    def step(self, loss: float) -> None:
        self.losses.append(loss)
        self.ends.append((time.perf_counter(), time.process_time()))

    def report(self, workload: Workload) -> dict:
        lengths = [len(row.input_ids) for row in workload.rows_in_order()]
        tokens = sum(lengths[8 * WARMUP_STEPS :])
        first, last = self.ends[WARMUP_STEPS - 1], self.ends[-1]
        wall, processor = last[0] - first[0], last[1] - first[1]
        peak = peak_resident_bytes()
        if _is_on_gpu():
            import torch

            peak = torch.cuda.max_memory_allocated()
        return {
            "losses": self.losses,
            "tokens_per_s": tokens / wall,
            "tokens_per_cpu_s": tokens / processor,
            "peak_mib": peak / MIB,
            "above_mib": (peak - self.before) / MIB,
        }


def _is_on_gpu() -> bool:
    """Whether this process trains on CUDA; every contender reads each loss, which waits for it."""
    import torch

    return torch.cuda.is_available() and torch.cuda.is_initialized()


def tokenizer(workload: Workload):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(workload.model)


def make_model(
    folder: Path, architecture: str, size: str = "small", dtype: str = "float32"
) -> None:
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
    sizes = {"1b": BILLION_SIZES, "100m": HUNDRED_MILLION_SIZES}.get(size, sizes)
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        architecture, vocab_size=VOCABULARY, **sizes, **special, **NO_DROPOUT
    )
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    model.save_pretrained(folder)
