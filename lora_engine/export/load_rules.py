"""Where an adapter loads: the rules of other programs, each with its source and the date it was
read.

A rule is a question to the adapter's configuration and its tensors' names, answered without
loading anything. What a program's source did not say is not claimed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lora_engine.adapters.config import CONFIG_FILE, MAX_CONFIG_BYTES
from lora_engine.export.forms import Form
from lora_engine.files import read_json_object
from lora_engine.language import tr, translatable
from lora_engine.spectrum import AdapterFile, open_adapter

VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
OLLAMA_ARCHITECTURES = ("llama", "gemma2")
OLLAMA_OWN_ENGINE = ("gemma3", "gemma3_text", "qwen3")  # of the bases that GGUF is written for

NUMBER = re.compile(r"\.(\d+)(?=\.)")

Program = Literal["PEFT", "vLLM", "llama.cpp", "Ollama", "TGI"]


@dataclass(frozen=True)
class Source:
    """Where a program's rules were read, and when."""

    files: str
    read_on: str


PEFT_SOURCE = Source(translatable("peft 0.21.2, as installed"), "2026-11-26")
VLLM_SOURCE = Source(
    translatable(
        "vllm-project/vllm: vllm/lora/peft_helper.py (with trainable_token_indices), "
        "vllm/config/lora.py at a78dc92"
    ),
    "2026-11-27",
)
LLAMA_CPP_SOURCE = Source(
    translatable("ggml-org/llama.cpp: convert_lora_to_gguf.py at 0b03ada"), "2026-11-27"
)
OLLAMA_SOURCE = Source(
    translatable("ollama/ollama: convert/convert.go at 01cf744, convert_llama_adapter.go"),
    "2026-11-27",
)
LLAMA_ADAPTER_SOURCE = Source(
    translatable("ggml-org/llama.cpp: src/llama-adapter.cpp at 0650ea8"), "2026-11-27"
)
OLLAMA_ENGINE_SOURCE = Source(
    translatable("ollama/ollama: fs/ggml/ggml.go at 008a6ca, runner/ollamarunner/runner.go"),
    "2026-11-27",
)
TGI_SOURCE = Source(
    translatable("huggingface/text-generation-inference: adapters/lora.py at 45d95bd"),
    "2026-11-26",
)


@dataclass(frozen=True)
class Remedy:
    """What helps, in words. form: to export instead, where that is it."""

    words: str
    form: Form | None = None


PORTABLE = Remedy(translatable("Export it as portable."), "portable")
MERGED = Remedy(translatable("Export it as merged."), "merged")
MERGED_WITH_BIASES = Remedy(
    translatable("Export it as merged, which needs layers of the base that have a bias."), "merged"
)


@dataclass(frozen=True)
class LoadRule:
    """Whether one program computes what was trained. reason: why (not), and what helps. instead:
    the form that the program loads, where it does not load this one and another helps."""

    program: Program
    loads: bool
    reason: str
    source: str
    date: str
    instead: Form | None = None


@dataclass(frozen=True)
class AdapterFacts:
    """What the rules ask. ranks and scalings: of the modules, each value once, ascending.

    alpha_as_integer: lora_alpha is written as 16, not as 16.0. embeddings: adapted ones. copies:
    the base's own, saved along. every_layer: each kind of module is adapted in all layers that are
    adapted at all, from the first on.
    """

    ranks: tuple[int, ...]
    scalings: tuple[float, ...]
    config_rank: int
    config_alpha: float
    alpha_as_integer: bool
    use_rslora: bool
    use_dora: bool
    has_patterns: bool
    whole: tuple[str, ...]
    biases: tuple[str, ...]
    embeddings: tuple[str, ...]
    copies: tuple[str, ...]
    experts: tuple[str, ...]
    every_layer: bool
    smallest_side: int

    @property
    def one_scaling(self) -> bool:
        """Whether alpha over r of the configuration is every module's scaling."""
        return self.scalings == (self.config_alpha / self.config_rank,)


def where_it_loads(adapter: Path, model_type: str | None = None) -> list[LoadRule]:
    """One rule a program for the adapter in this folder.

    model_type: the base model's, as its config.json says, where it is known.
    Raises NotFound and EngineError as `open_adapter`.
    """
    facts = _facts(open_adapter(adapter))
    return [_peft(facts), _vllm(facts), _llama_cpp(facts), _ollama(facts, model_type), _tgi(facts)]


def vllm_rank(rank: int) -> int | None:
    """The smallest --max-lora-rank that vLLM takes for adapters of this rank; None beyond all."""
    return next((allowed for allowed in VLLM_RANKS if allowed >= rank), None)


def where_gguf_loads(model_type: str | None) -> list[LoadRule]:
    """One rule a program for an adapter in a GGUF file, beside a GGUF file of the same base."""
    own_engine = tr("it runs {kind} in an engine of its own, which takes no LoRA", kind=model_type)
    return [
        _judged(
            "llama.cpp", LLAMA_ADAPTER_SOURCE, (), tr("llama-server -m BASE.gguf --lora reads it.")
        ),
        _judged(
            "Ollama",
            OLLAMA_ENGINE_SOURCE,
            ((model_type in OLLAMA_OWN_ENGINE, own_engine, MERGED),),
            tr("A Modelfile with FROM ./BASE.gguf and ADAPTER ./adapter.gguf reads it."),
        ),
    ]


def _facts(stored: AdapterFile) -> AdapterFacts:
    config, keys = stored.config, stored.keys
    of_b = [name for name, parts in keys.factors.items() if "bias" in parts]
    sides = [
        side
        for parts in keys.factors.values()
        for part in parts
        if part in ("A", "B")
        for side in _features(stored, parts[part], part)
    ]
    return AdapterFacts(
        ranks=tuple(sorted(set(stored.ranks.values()))),
        scalings=tuple(sorted(set(stored.scalings.values()))),
        config_rank=config.r,
        config_alpha=config.lora_alpha,
        alpha_as_integer=isinstance(
            read_json_object(stored.path / CONFIG_FILE, MAX_CONFIG_BYTES)["lora_alpha"], int
        ),
        use_rslora=config.use_rslora,
        use_dora=config.use_dora,
        has_patterns=bool(config.rank_pattern or config.alpha_pattern),
        whole=tuple(keys.whole),
        biases=(*of_b, *keys.biases),
        embeddings=tuple(name for name, parts in keys.factors.items() if "embedding_A" in parts),
        copies=tuple(keys.embeddings),
        experts=tuple(keys.parameters.values()),
        every_layer=config.layers_to_transform is None and _has_every_layer(keys.factors),
        smallest_side=min(sides, default=0),
    )


def _has_every_layer(modules: Iterable[str]) -> bool:
    """Whether each kind of module (its name without the layer's number) has the same layers, 0 to
    the last."""
    layers: dict[str, set[int]] = {}
    for module in modules:
        number = NUMBER.search(module)
        if number is not None:
            kind = module[: number.start()] + module[number.end() :]
            layers.setdefault(kind, set()).add(int(number.group(1)))
    last = max((max(found) for found in layers.values()), default=-1)
    return all(found == set(range(last + 1)) for found in layers.values())


def _features(stored: AdapterFile, key: str, part: str) -> Sequence[int]:
    """The features of a factor: the in of A, the out of B."""
    shape = stored.file.tensors[key].shape
    return shape[1:2] if part == "A" else shape[:1]


def _peft(facts: AdapterFacts) -> LoadRule:
    return _judged(
        "PEFT",
        PEFT_SOURCE,
        (),
        tr("PeftModel.from_pretrained reads every form that is listed here."),
    )


def _vllm(facts: AdapterFacts) -> LoadRule:
    largest = max(facts.ranks)
    allowed = vllm_rank(largest)
    return _judged(
        "vLLM",
        VLLM_SOURCE,
        (
            (facts.use_dora, tr("it refuses DoRA"), MERGED),
            (bool(facts.whole), tr("it refuses modules_to_save"), MERGED),
            (bool(facts.biases), tr("it has no biases of adapters"), MERGED_WITH_BIASES),
            (
                bool(facts.has_patterns),
                tr(
                    "it does not read rank_pattern and alpha_pattern, and would scale by "
                    "{alpha}/{rank} everywhere",
                    alpha=f"{facts.config_alpha:g}",
                    rank=facts.config_rank,
                ),
                PORTABLE,
            ),
            (bool(facts.experts), tr("how it reads fused experts was not checked"), MERGED),
            (
                allowed is None,
                tr(
                    "it takes ranks up to {most}, this one has {rank}",
                    most=VLLM_RANKS[-1],
                    rank=largest,
                ),
                Remedy(tr("Resize it to {rank}.", rank=VLLM_RANKS[-1])),
            ),
        ),
        tr("It loads with --enable-lora --max-lora-rank {rank}.", rank=allowed),
    )


def _llama_cpp(facts: AdapterFacts) -> LoadRule:
    return _judged(
        "llama.cpp",
        LLAMA_CPP_SOURCE,
        (
            (facts.use_dora, tr("its converter stops at DoRA's magnitudes"), MERGED),
            (bool(facts.whole), tr("its converter stops at modules saved whole"), MERGED),
            (bool(facts.biases), tr("its converter stops at biases"), MERGED_WITH_BIASES),
            (bool(facts.copies), tr("its converter stops at embeddings saved along"), MERGED),
            (_own_scaling_lost(facts), _lost_by_own_rank(facts), PORTABLE),
        ),
        tr("convert_lora_to_gguf.py reads it."),
    )


def _ollama(facts: AdapterFacts, model_type: str | None) -> LoadRule:
    other = model_type is not None and model_type not in OLLAMA_ARCHITECTURES
    return _judged(
        "Ollama",
        OLLAMA_SOURCE,
        (
            (
                other,
                tr(
                    "ADAPTER reads safetensors for llama and gemma2 only, and the base is {kind}",
                    kind=model_type,
                ),
                Remedy(tr("Convert it to GGUF, or export it as merged.")),
            ),
            (facts.use_dora, tr("it knows no DoRA"), MERGED),
            (bool(facts.whole), tr("it knows no modules saved whole"), MERGED),
            (bool(facts.biases), tr("it knows no biases of adapters"), MERGED_WITH_BIASES),
            (
                bool(facts.embeddings or facts.copies),
                tr("it has no name for adapted embeddings"),
                MERGED,
            ),
            (
                not facts.alpha_as_integer,
                tr(
                    "it takes lora_alpha as an integer alone, and this one is written as {alpha}",
                    alpha=repr(facts.config_alpha),
                ),
                PORTABLE,
            ),
            (
                max(facts.ranks) > facts.smallest_side > 0,
                tr("it takes a factor whose rank is over its features for a transposed one"),
                Remedy(tr("Resize it to a smaller rank.")),
            ),
            (_own_scaling_lost(facts), _lost_by_own_rank(facts), PORTABLE),
        ),
        tr("ADAPTER with the folder's path reads it.")
        if model_type
        else tr(
            "ADAPTER with the folder's path reads it. The base must be of the llama or gemma2 kind."
        ),
    )


def _tgi(facts: AdapterFacts) -> LoadRule:
    expected = facts.config_alpha / facts.config_rank ** (0.5 if facts.use_rslora else 1.0)
    return _judged(
        "TGI",
        TGI_SOURCE,
        (
            (facts.use_dora, tr("it would leave out DoRA's magnitudes without a word"), MERGED),
            (bool(facts.whole), tr("it would leave out modules saved whole"), MERGED),
            (bool(facts.biases), tr("it would leave out biases"), MERGED_WITH_BIASES),
            (bool(facts.embeddings), tr("it would leave out adapted embeddings"), MERGED),
            (bool(facts.experts), tr("it would leave out experts"), MERGED),
            (
                not facts.every_layer,
                tr("it drops a kind of module that not every layer has, without a word"),
                MERGED,
            ),
            (
                facts.scalings != (expected,) or len(facts.ranks) > 1,
                tr("it takes one rank and one scaling for all modules"),
                PORTABLE,
            ),
        ),
        tr("LORA_ADAPTERS with the folder's path reads it."),
    )


def _own_scaling_lost(facts: AdapterFacts) -> bool:
    """Whether lora_alpha over each tensor's rank is another number than some module's scaling."""
    by_own_rank = {facts.config_alpha / rank for rank in facts.ranks}
    return len(facts.ranks) > 1 or set(facts.scalings) != by_own_rank


def _lost_by_own_rank(facts: AdapterFacts) -> str:
    if facts.use_rslora:
        return tr("it scales by lora_alpha over each tensor's rank, and this adapter has rsLoRA")
    return tr(
        "it scales by lora_alpha over each tensor's rank, and this adapter has patterns of rank or "
        "alpha"
    )


def _judged(
    program: Program,
    source: Source,
    against: Sequence[tuple[bool, str, Remedy]],
    otherwise: str,
) -> LoadRule:
    """The first condition that holds says why not; the remedy is that of the gravest."""
    found = [(reason, remedy) for holds, reason, remedy in against if holds]
    if not found:
        return LoadRule(program, True, otherwise, tr(source.files), source.read_on)
    reasons = tr("; ").join(reason for reason, _ in found)
    remedy = found[0][1]
    reason = tr(
        "{reasons}. {remedy}",
        reasons=f"{reasons[0].upper()}{reasons[1:]}",
        remedy=tr(remedy.words),
    )
    return LoadRule(program, False, reason, tr(source.files), source.read_on, remedy.form)
