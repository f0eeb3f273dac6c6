"""What llama.cpp calls the weights of a base, and the order in which it keeps their rows.

    tensor name   by gguf's own table: model.layers.0.self_attn.q_proj -> blk.0.attn_q
    row order     llama.cpp turns row 2i with row 2i+1 of a head, transformers row i with row i+d/2;
                  for llama and mistral the rows of q and k are therefore interleaved, head by head

Read from ggml-org/llama.cpp, conversion/llama.py, qwen.py, gemma.py and phi.py, on 2026-11-27. The
kinds listed here are those whose adapted weights are renamed, and interleaved at most; other kinds
split, stack or transpose weights, which only llama.cpp's own converter knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lora_engine.errors import EngineError
from lora_engine.language import tr, translatable

if TYPE_CHECKING:
    from gguf import TensorNameMap

HEAD = "lm_head"
USE_THE_CONVERTER = translatable(
    "Set LLAMA_CPP_DIR to a folder with llama.cpp's source: its own converter is used then."
)


@dataclass(frozen=True)
class Kind:
    """One kind of base. architecture: llama.cpp's name for it. interleaved: q and k are."""

    architecture: str
    interleaved: bool = False
    keeps_head: bool = True


KINDS: Mapping[str, Kind] = {
    "llama": Kind("llama", interleaved=True),
    "mistral": Kind("llama", interleaved=True),
    "qwen2": Kind("qwen2"),
    "qwen3": Kind("qwen3"),
    "phi3": Kind("phi3"),
    "gemma": Kind("gemma", keeps_head=False),
    "gemma2": Kind("gemma2", keeps_head=False),
    "gemma3_text": Kind("gemma3", keeps_head=False),
}
"""By the model_type of config.json."""


@dataclass(frozen=True)
class GgufBase:
    """A base as llama.cpp sees it. heads of queries and of keys; has_head: lm_head of its own."""

    name: str
    kind: Kind
    layers: int
    heads: int
    key_value_heads: int
    has_head: bool

    def table(self) -> TensorNameMap:
        """gguf's own table of names for this kind of base."""
        from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

        (arch,) = (a for a, name in MODEL_ARCH_NAMES.items() if name == self.kind.architecture)
        return get_tensor_name_map(arch, self.layers)

    def tensor_names(self, modules: Iterable[str]) -> dict[str, str]:
        """By module, the name of its weight. Raises EngineError naming one that has none."""
        table = self.table()
        found = {module: table.get_name(module) for module in modules}
        for module, name in found.items():
            if name is None or (module == HEAD and not self.has_head):
                why = (
                    tr("its output layer is the embedding") if name else tr("it has no name for it")
                )
                raise EngineError(
                    tr(
                        "llama.cpp cannot adapt {module} of {name}: {why}.",
                        module=module,
                        name=f"{self.name!r}",
                        why=why,
                    ),
                    tr("Export it as merged, or train an adapter without that module."),
                )
        return {module: f"{name}.weight" for module, name in found.items()}

    def interleaved(self, module: str, rows: np.ndarray) -> np.ndarray:
        """Rows (out_features, ...) of a module's weight or lora_B in llama.cpp's order.

        Raises EngineError for rows that the heads do not divide.
        """
        heads = self._interleaved_heads(module, rows)
        if heads is None:
            return rows
        halves = rows.reshape(heads, 2, -1, *rows.shape[1:])
        return halves.swapaxes(1, 2).reshape(rows.shape)

    def undone(self, module: str, rows: np.ndarray) -> np.ndarray:
        """`interleaved` backwards."""
        heads = self._interleaved_heads(module, rows)
        if heads is None:
            return rows
        pairs = rows.reshape(heads, -1, 2, *rows.shape[1:])
        return pairs.swapaxes(1, 2).reshape(rows.shape)

    def _interleaved_heads(self, module: str, rows: np.ndarray) -> int | None:
        """The heads among the rows; None where their order is the same in both."""
        if not self.kind.interleaved or not module.endswith((".q_proj", ".k_proj")):
            return None
        heads = self.heads if module.endswith(".q_proj") else self.key_value_heads
        if rows.shape[0] % (2 * heads):
            raise EngineError(
                tr(
                    "{module} has {shape} rows, which {heads} heads of {name} do not share "
                    "in pairs.",
                    module=module,
                    shape=rows.shape[0],
                    heads=heads,
                    name=f"{self.name!r}",
                ),
                tr("Check that the adapter belongs to this base."),
            )
        return heads


def gguf_base(name: str, config: Mapping[str, Any], remedy: str = USE_THE_CONVERTER) -> GgufBase:
    """The base with this config.json, as `read_config` checked it.

    remedy: what helps where the base is of another kind.
    Raises EngineError for a kind that is not listed here, and for a number that is missing.
    """
    model_type = config.get("model_type")
    kind = KINDS.get(model_type) if isinstance(model_type, str) else None
    if kind is None:
        raise EngineError(
            tr(
                "{name} is a base of the kind {model_type}; its names in GGUF are not known "
                "here, only those of {kinds}.",
                name=f"{name!r}",
                model_type=f"{model_type!r}",
                kinds=", ".join(KINDS),
            ),
            tr(remedy),
        )
    heads = _count(name, config, "num_attention_heads")
    one_each = model_type == "llama" and config.get("num_key_value_heads") is None
    return GgufBase(
        name=name,
        kind=kind,
        layers=_count(name, config, "num_hidden_layers"),
        heads=heads,
        key_value_heads=heads if one_each else _count(name, config, "num_key_value_heads"),
        has_head=kind.keeps_head and not config.get("tie_word_embeddings", False),
    )


def _count(name: str, config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise EngineError(
            tr(
                "config.json of {name} has {value} as {key}; a whole number is needed.",
                name=f"{name!r}",
                value=str(value)[:60],
                key=key,
            ),
            tr("Get the file from the model's source again."),
        )
    return value
