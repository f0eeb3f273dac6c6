"""What each tensor of an adapter's weights file is: a factor, a module saved whole, a bias.

Decided from names, types and shapes in the file's header, for every reader of adapters. This
module reads no values and knows nothing of the base model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lora_engine.adapters.config import AdapterConfig
from lora_engine.adapters.other_forms import foreign_key_error, is_wrapped
from lora_engine.errors import EngineError
from lora_engine.language import tr, translatable
from lora_engine.weights.matrix import describe_shape
from lora_engine.weights.safetensors_file import SafetensorsFile, TensorEntry, dtype_name

PREFIX = "base_model.model."
WRAPPED = ".base_layer"  # PEFT's name for what a LoRA layer wraps
FLOAT_DTYPES = ("F64", "F32", "F16", "BF16")
AGAIN = translatable("Copy the adapter again from where it was saved, or train it again.")
GATHER = translatable(
    "Gather the shards before save_pretrained (deepspeed.zero.GatheredParameters, or FSDP's full "
    "state dict), and save the adapter again."
)

Part = Literal["A", "B", "bias", "magnitude", "embedding_A", "embedding_B"]
_SUFFIXES: tuple[tuple[str, Part], ...] = (
    (".lora_A.weight", "A"),
    (".lora_B.weight", "B"),
    (".lora_B.bias", "bias"),
    (".lora_embedding_A", "embedding_A"),
    (".lora_embedding_B", "embedding_B"),
    (".lora_magnitude_vector", "magnitude"),
    (".lora_magnitude_vector.weight", "magnitude"),
)
_IN_FILE: dict[Part, str] = {
    "A": "lora_A",
    "B": "lora_B",
    "bias": "lora_B.bias",
    "magnitude": "lora_magnitude_vector",
    "embedding_A": "lora_embedding_A",
    "embedding_B": "lora_embedding_B",
}
# PEFT saves these whole beside an adapter that targets or resizes them.
_EMBEDDINGS = ("embed_tokens", "lm_head", "wte", "word_embeddings", "embed_in", "embed_out")
TOKENS = "trainable_tokens_delta"
_STORED_AS = {"C64": translatable("complex numbers"), "BOOL": translatable("true and false")}
# The order in which the experts of transformers register what they hold, and PEFT wraps it.
_REGISTERED = ("gate_up_proj", "gate_up_proj_bias", "down_proj", "down_proj_bias")


@dataclass(frozen=True)
class AdapterKeys:
    """The tensors of an adapter by what they are; the values are keys of the file.

    factors: by module, then by part. parameters: of modules whose factors adapt a parameter of
    theirs (fused experts), its full name. whole: tensors of modules saved whole, by name. biases:
    of the base, by their name there. embeddings: the base's own, saved along.
    """

    factors: Mapping[str, Mapping[Part, str]]
    parameters: Mapping[str, str] = field(default_factory=dict)
    whole: Mapping[str, str] = field(default_factory=dict)
    biases: Mapping[str, str] = field(default_factory=dict)
    embeddings: Mapping[str, str] = field(default_factory=dict)

    def named(self, module: str) -> str:
        """The name that the patterns of ranks and alphas see."""
        return self.parameters.get(module, module)


def read_keys(file: SafetensorsFile, config: AdapterConfig) -> AdapterKeys:
    """Sort the tensors of a scanned file.

    Raises EngineError for another maker's form, a module that is not complete, a type that holds
    no real numbers, and weights of the base that the configuration does not account for.
    """
    found = _Sorting(file.path, config)
    for key, entry in file.tensors.items():
        found.add(key, entry)
    if not found.factors:
        raise EngineError(
            tr("{path} holds no LoRA factors.", path=file.path), tr("Check that it is the adapter.")
        )
    for module, parts in found.factors.items():
        _check_complete(file.path, module, parts, config)
    return AdapterKeys(
        factors=found.factors,
        parameters=_adapted_parameters(file.path, found.factors, config),
        whole=found.whole,
        biases=found.biases,
        embeddings=found.embeddings,
    )


def factor_keys(parts: Mapping[Part, str]) -> tuple[str, str]:
    """The keys of a complete module's A and B, an embedding's too."""
    if "A" in parts:
        return parts["A"], parts["B"]
    return parts["embedding_A"], parts["embedding_B"]


def check_shapes(
    name: str, lora_A: TensorEntry, lora_B: TensorEntry, rank: int, of_parameter: bool
) -> int:
    """The number of experts: 1 but for the parameter of several. (rank, in) and (out, rank).

    Raises EngineError for shapes that are not so, and for another rank than the configuration's.
    """
    shape_a, shape_b = lora_A.shape, lora_B.shape
    shown = tr(
        "{first} and {second}", first=describe_shape(shape_a), second=describe_shape(shape_b)
    )
    if min(len(shape_a), len(shape_b)) < 2 or set(shape_b[2:]) > {1}:
        raise EngineError(
            tr(
                "{name} has factors of {shown}; needed are (rank, in) and (out, rank).",
                name=name,
                shown=shown,
            ),
            tr(GATHER),
        )
    rows, columns = shape_a[0], shape_b[1]
    empty = 0 in shape_a or 0 in shape_b
    fits = rows % rank == 0 if of_parameter else rows == rank
    if not empty and fits and rows == columns:
        return rows // rank
    problem = tr(
        "{name}: the config says rank {rank}, the factors are {shown}",
        name=name,
        rank=rank,
        shown=shown,
    )
    if empty:
        raise EngineError(tr("{problem}: they are empty.", problem=problem), tr(GATHER))
    if shape_a[1] == shape_b[0] == rank and not of_parameter:
        raise EngineError(
            tr("{problem}: (in, rank) and (rank, out), stored transposed.", problem=problem),
            tr("Transpose both, as PEFT stores them: lora_A (rank, in), lora_B (out, rank)."),
        )
    raise EngineError(
        tr("{problem}.", problem=problem),
        tr("Check that config and weights belong together (rank_pattern included)."),
    )


class _Sorting:
    """Takes the keys one after another."""

    def __init__(self, path: Path, config: AdapterConfig) -> None:
        self._path = path
        self._config = config
        self.factors: dict[str, dict[Part, str]] = {}
        self.whole: dict[str, str] = {}
        self.biases: dict[str, str] = {}
        self.embeddings: dict[str, str] = {}

    def add(self, key: str, entry: TensorEntry) -> None:
        name, part = _split_key(key)
        if is_wrapped(key):
            raise foreign_key_error(str(self._path), key)
        if part is None:
            self._add_whole(key, name)
        elif part in self.factors.setdefault(name, {}):
            raise EngineError(
                tr("{name} has its {part} twice in {path}.", name=name, part=part, path=self._path),
                tr(AGAIN),
            )
        else:
            self.factors[name][part] = key
        if entry.dtype not in FLOAT_DTYPES:
            stored = tr(_STORED_AS.get(entry.dtype, dtype_name(entry.dtype)))
            raise EngineError(
                tr(
                    "{path}: {key} is stored as {stored}; float64, float32, float16 and "
                    "bfloat16 are read.",
                    path=self._path,
                    key=key,
                    stored=stored,
                ),
                tr("Save the adapter again in float32 or bfloat16."),
            )

    def _add_whole(self, key: str, name: str) -> None:
        pieces = name.split(".")
        if ".lora_" in name:
            raise foreign_key_error(str(self._path), key)
        if self._config.bias != "none" and pieces[-1] == "bias":
            self._add_bias(key, name, pieces)
        elif self._config.is_saved_whole(name) and not {
            "original_module",
            "base_layer",
            "modules_to_save",
        }.intersection(pieces):
            self.whole[name] = key
        elif set(_EMBEDDINGS).intersection(pieces) and pieces[-1] in ("weight", "bias", TOKENS):
            if "modules_to_save" in pieces or "original_module" in pieces:
                raise foreign_key_error(str(self._path), key)
            self.embeddings[name.replace(WRAPPED, "")] = key
        else:
            raise foreign_key_error(str(self._path), key)

    def _add_bias(self, key: str, name: str, pieces: list[str]) -> None:
        """A bias of the base that trained, or one of a module that is saved whole."""
        if "original_module" in pieces or "modules_to_save" in pieces:
            return  # PEFT lists the wrapper's biases once more
        if self._config.is_saved_whole(name):
            self.whole[name] = key
        else:
            self.biases[name.replace(WRAPPED, "")] = key


def _split_key(key: str) -> tuple[str, Part | None]:
    plain = key.removeprefix(PREFIX)
    for suffix, part in _SUFFIXES:
        if plain.endswith(suffix):
            return plain.removesuffix(suffix), part
    return plain, None


def _check_complete(
    path: Path, module: str, parts: Mapping[Part, str], config: AdapterConfig
) -> None:
    embedding = "embedding_A" in parts or "embedding_B" in parts
    needed: set[Part] = {"embedding_A", "embedding_B"} if embedding else {"A", "B"}
    if config.use_dora:
        needed.add("magnitude")
    if config.lora_bias and not embedding:
        needed.add("bias")
    if set(parts) == needed:
        return
    missing, extra = sorted(needed - set(parts)), sorted(set(parts) - needed)
    wrong = [
        *(tr("lacks {part} ({name})", part=part, name=_IN_FILE[part]) for part in missing),
        *(tr("has {part} ({name})", part=part, name=_IN_FILE[part]) for part in extra),
    ]
    said = {"path": path, "module": module, "wrong": ", ".join(wrong)}
    raise EngineError(
        tr("{path} is half-written: the module {module} {wrong}.", **said)
        if missing
        else tr("{path} does not fit its configuration: the module {module} {wrong}.", **said),
        tr("Get the whole adapter: half of one would load with a warning and be wrong."),
    )


def _adapted_parameters(
    path: Path, modules: Iterable[str], config: AdapterConfig
) -> dict[str, str]:
    """Modules whose factors adapt one of target_parameters, and that parameter's full name.

    PEFT wraps a module once for each of its parameters, so the last one registered is outermost.
    """
    if not config.target_parameters:
        return {}
    depths: dict[str, list[int]] = {}
    for module in modules:
        holder = module
        while holder.endswith(WRAPPED):
            holder = holder.removesuffix(WRAPPED)
        depths.setdefault(holder, []).append((len(module) - len(holder)) // len(WRAPPED))
    found = {}
    for holder, wrappers in depths.items():
        dotted, bare = _candidates(holder, config.target_parameters)
        if max(wrappers) == 0 and not dotted and (not bare or _is_target(holder, config)):
            continue
        names = dotted if len(dotted) == len(wrappers) else [*dotted, *bare]
        names = _in_order(path, holder, names, len(wrappers))
        for depth, name in zip(sorted(wrappers, reverse=True), names, strict=True):
            found[holder + WRAPPED * depth] = f"{holder}.{name}"
    if not found:
        raise EngineError(
            tr(
                "{path}: target_parameters names {target_parameters}, of which the file "
                "holds nothing.",
                path=path,
                target_parameters=", ".join(config.target_parameters[:5]),
            ),
            tr(AGAIN),
        )
    return found


def _candidates(holder: str, targets: Iterable[str]) -> tuple[list[str], list[str]]:
    """The parameters that a module can have: those whose holder is named, and bare names."""
    dotted, bare = [], []
    for target in targets:
        parent, dot, name = target.rpartition(".")
        if not dot:
            bare.append(name)
        elif holder == parent or holder.endswith("." + parent):
            dotted.append(name)
    return dotted, bare


def _is_target(module: str, config: AdapterConfig) -> bool:
    """Whether the module itself is adapted, as far as the configuration names modules."""
    targets = config.target_modules
    if not isinstance(targets, list):
        return "experts" not in module.rpartition(".")[2]
    return any(module == target or module.endswith("." + target) for target in targets)


def _in_order(path: Path, holder: str, names: list[str], wrappers: int) -> list[str]:
    if len(names) == wrappers and (wrappers == 1 or set(names) <= set(_REGISTERED)):
        return sorted(names, key=_REGISTERED.index) if wrappers > 1 else names
    raise EngineError(
        tr(
            "{path} adapts {wrappers} parameters of {holder}; target_parameters does not say "
            "which.",
            path=path,
            wrappers=wrappers,
            holder=holder,
        ),
        tr("Name them with their module in target_parameters, as in experts.gate_up_proj."),
    )
