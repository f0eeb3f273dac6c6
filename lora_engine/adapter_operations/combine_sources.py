"""Which adapters can be combined, and what of each goes into the result beside its factors.

Everything here is known from configurations, provenance and headers; a source that cannot be
honoured is refused by name. Computes nothing.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_engine.adapter_operations.combine_factors import METHODS, Method
from lora_engine.adapter_operations.source_adapter import SourceAdapter, open_source
from lora_engine.adapter_operations.written_adapter import COPY_BYTES
from lora_engine.adapters.weights_keys import WRAPPED
from lora_engine.errors import EngineError
from lora_engine.language import tr, translatable
from lora_engine.weights.matrix import describe_shape
from lora_engine.weights.safetensors_file import SafetensorsFile
from lora_engine.weights.stored_matrix import read_exactly

MAX_SOURCES = 64
MAX_WEIGHT = 1e3
RESIZE_FIRST = translatable(
    "Combine them exactly, or resize the larger one to the rank of the smaller first."
)


@dataclass(frozen=True)
class WeightedAdapter:
    """An adapter's folder and the weight of its update in the sum; negative takes it away."""

    path: Path
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class CombineSource:
    """An opened source with its weight."""

    adapter: SourceAdapter
    weight: float

    @property
    def name(self) -> str:
        return self.adapter.name

    def has(self, holder: str) -> bool:
        return holder in self.adapter.stored.keys.factors


@dataclass(frozen=True, eq=False)
class CopiedTensor:
    """A tensor that goes into the result as it lies in a source's file. owner: the source."""

    file: SafetensorsFile
    key: str
    owner: str


def open_sources(weighted: Sequence[WeightedAdapter]) -> list[CombineSource]:
    """Open and check adapters that are to be combined.

    Raises EngineError for a number of sources or a weight out of bounds, another base, a module of
    two shapes, fused experts adapted otherwise; and as `open_source`.
    """
    if not 1 <= len(weighted) <= MAX_SOURCES:
        raise EngineError(
            tr(
                "{count} adapters are to be combined; 1 to {max_sources} are possible.",
                count=len(weighted),
                max_sources=MAX_SOURCES,
            ),
            tr("Name each with its weight, as in pirate:0.7 json:0.3."),
        )
    for one in weighted:
        if not (math.isfinite(one.weight) and 0 < abs(one.weight) <= MAX_WEIGHT):
            raise EngineError(
                tr(
                    "The weight of {path} is {weight}; a number up to {max_weight} other "
                    "than 0 is possible, negative to take the adapter away.",
                    path=one.path,
                    weight=f"{one.weight:g}",
                    max_weight=f"{MAX_WEIGHT:g}",
                ),
                tr("Give another weight, or leave the adapter out."),
            )
    sources = [CombineSource(open_source(Path(one.path)), one.weight) for one in weighted]
    _check_base(sources)
    _check_modules(sources)
    return sources


def base_notes(sources: Sequence[CombineSource]) -> tuple[str, ...]:
    """Which sources do not say by a fingerprint what base they were trained on."""
    return tuple(
        tr(
            "{name} has no base fingerprint; that it belongs to the same base is taken from the "
            "name of its base model.",
            name=one.name,
        )
        for one in sources
        if _fingerprint(one) is None and len(sources) > 1
    )


def check_method(method: Method, density: float | None, sources: Sequence[CombineSource]) -> None:
    """Raises EngineError where TIES or DARE have no meaning for these sources."""
    if method not in METHODS:
        raise EngineError(
            tr(
                "The method {method} is not known; there are {methods}.",
                method=f"{str(method)[:40]!r}",
                methods=", ".join(METHODS),
            ),
            tr("Choose one of these."),
        )
    if method == "exact":
        if density is not None:
            raise EngineError(
                tr("A density is given, and the exact sum keeps every number."),
                tr("Leave it out, or choose ties, dare_ties or dare_linear."),
            )
        return
    if density is None or not 0.0 < density <= 1.0:
        given = tr("none") if density is None else f"{density:g}"
        raise EngineError(
            tr(
                "{method} keeps a share of the numbers, its density; {given} is given, more "
                "than 0 and at most 1 is possible.",
                method=method,
                given=given,
            ),
            tr("Give a density, such as 0.5."),
        )
    for one in sources:
        stored = one.adapter.stored
        if stored.keys.parameters or stored.config.lora_bias:
            what = tr("fused experts") if stored.keys.parameters else tr("a bias in lora_B")
            raise EngineError(
                tr(
                    "{name} has {what}, which {method} does not say how to merge.",
                    name=one.name,
                    what=what,
                    method=method,
                ),
                tr("Combine them exactly."),
            )
    for holder in holders_of(sources):
        ranks = {one.adapter.stored.ranks[holder]: one.name for one in sources if one.has(holder)}
        if len(ranks) > 1:
            shown = ", ".join(
                tr("{rank} in {name}", rank=rank, name=name) for rank, name in sorted(ranks.items())
            )
            raise EngineError(
                tr(
                    "{method} merges factors number by number, and {holder} has rank {shown}.",
                    method=method,
                    holder=holder,
                    shown=shown,
                ),
                tr(RESIZE_FIRST),
            )


def holders_of(sources: Sequence[CombineSource]) -> list[str]:
    """Every holder of factors, in the order in which the sources bring them."""
    found = (holder for one in sources for holder in one.adapter.stored.holders)
    return list(dict.fromkeys(found))


def copied_tensors(sources: Sequence[CombineSource]) -> dict[str, CopiedTensor]:
    """The tensors that go into the result as they are, by the key they get there: those of modules
    saved whole, the base's biases, and embeddings that PEFT saved along.

    Raises EngineError naming the module where two sources replace one, or one replaces it at a
    weight other than 1: a part of the way from the base is no tensor of either.
    """
    found: dict[str, CopiedTensor] = {}
    for one in sources:
        keys, file = one.adapter.stored.keys, one.adapter.stored.file
        for name, key in {**keys.whole, **keys.biases}.items():
            if name in found:
                raise EngineError(
                    tr(
                        "{owner} and {name} both replace {name_2} as a whole "
                        "(modules_to_save or trained biases); two replacements have no sum.",
                        owner=found[name].owner,
                        name=one.name,
                        name_2=name,
                    ),
                    tr("Combine adapters of which one at most trained it."),
                )
            if one.weight != 1.0:
                raise EngineError(
                    tr(
                        "{name} replaces {name_2} as a whole (modules_to_save or trained "
                        "biases), which has no part of weight {weight}.",
                        name=one.name,
                        name_2=name,
                        weight=f"{one.weight:g}",
                    ),
                    tr("Give this adapter the weight 1, or take one trained without it."),
                )
            found[name] = CopiedTensor(file, key, one.name)
        for name, key in keys.embeddings.items():
            tensor = CopiedTensor(file, key, one.name)
            if name in found and _digest(found[name]) != _digest(tensor):
                raise EngineError(
                    tr(
                        "{owner} and {name} hold different {name_2}: they belong to bases "
                        "with different embeddings.",
                        owner=found[name].owner,
                        name=one.name,
                        name_2=name,
                    ),
                    tr("Take adapters of the same base model."),
                )
            found.setdefault(name, tensor)
    _refuse_both_ways(sources)
    adapted = set(holders_of(sources))
    return {_key_in_result(name, one.key, adapted): one for name, one in found.items()}


def _key_in_result(name: str, key: str, adapted: Container[str]) -> str:
    """PEFT keeps the weights of a module that it adapts under `base_layer`."""
    module, _, tensor = name.rpartition(".")
    if module not in adapted or WRAPPED in key:
        return key
    return f"{key.removesuffix(f'.{tensor}')}{WRAPPED}.{tensor}"


def combined_config(sources: Sequence[CombineSource]) -> dict[str, Any]:
    """The fields in which the result's configuration differs from the first source's, but for
    ranks and alphas. The scaling of every module is 1, so rsLoRA is resolved."""
    configs = [one.adapter.stored.config for one in sources]
    saved = sorted({name for config in configs for name in config.modules_to_save or ()})
    bias = next((config.bias for config in configs if config.bias != "none"), "none")
    parameters = next((c.target_parameters for c in configs if c.target_parameters), None)
    return {
        "use_rslora": False,
        "bias": bias,
        "lora_bias": any(config.lora_bias for config in configs),
        "fan_in_fan_out": any(config.fan_in_fan_out for config in configs),
        "modules_to_save": saved or None,
        "target_parameters": parameters,
        **_targets(sources),
    }


def common_provenance(sources: Sequence[CombineSource]) -> dict[str, Any]:
    """What the provenance of all sources says alike of base model and template."""
    documents = [one.adapter.provenance for one in sources]
    names = ("base_model", "base_fingerprint", "chat_template", "chat_template_hash")
    return {
        name: documents[0][name]
        for name in names
        if all(name in document and document[name] == documents[0][name] for document in documents)
    }


def _targets(sources: Sequence[CombineSource]) -> dict[str, Any]:
    """Target modules that match the modules of all sources and no other.

    Lists of names match the same modules together as apart. Patterns, exclusions and layers are
    resolved into the modules' full names.
    """
    configs = [one.adapter.stored.config for one in sources]
    lists = [c.target_modules for c in configs if isinstance(c.target_modules, list)]
    plain = len(lists) == len(configs) and not any(
        config.exclude_modules or config.layers_to_transform is not None for config in configs
    )
    if plain:
        return {"target_modules": sorted({name for names in lists for name in names})}
    fused = {holder for one in sources for holder in one.adapter.stored.keys.parameters}
    return {
        "target_modules": [holder for holder in holders_of(sources) if holder not in fused],
        **dict.fromkeys(("exclude_modules", "layers_to_transform", "layers_pattern")),
    }


def _fingerprint(source: CombineSource) -> str | None:
    found = source.adapter.provenance.get("base_fingerprint")
    return found if isinstance(found, str) and found else None


def _check_base(sources: Sequence[CombineSource]) -> None:
    """One base: the same fingerprint; where one is not known, the same name."""
    first = sources[0]
    for other in sources[1:]:
        ours, theirs = _fingerprint(first), _fingerprint(other)
        names = [one.adapter.stored.config.base_model_name_or_path for one in (first, other)]
        same = ours == theirs if ours and theirs else bool(names[0]) and names[0] == names[1]
        if not same:
            bases = [
                tr(
                    "{name} was trained on {base} (fingerprint {fingerprint})",
                    name=one.name,
                    base=_base_name(one),
                    fingerprint=found or tr("not known"),
                )
                for one, found in ((first, ours), (other, theirs))
            ]
            raise EngineError(
                tr(
                    "The adapters do not belong to one base model: {bases}.", bases=", ".join(bases)
                ),
                tr("Combine adapters of the same base model."),
            )


def _base_name(source: CombineSource) -> str:
    named = source.adapter.provenance.get("base_model")
    named = named or source.adapter.stored.config.base_model_name_or_path
    return repr(str(named)[:200]) if named else tr("a base it does not name")


def _check_modules(sources: Sequence[CombineSource]) -> None:
    """A module that several sources adapt has one shape, and fused experts are adapted alike."""
    shapes: dict[str, tuple[tuple[int, ...], str]] = {}
    for one in sources:
        for holder in one.adapter.stored.holders:
            of_a, of_b = one.adapter.entries(holder)
            shape = (of_b.shape[0], *of_a.shape[1:])
            theirs, name = shapes.setdefault(holder, (shape, one.name))
            if theirs != shape:
                raise EngineError(
                    tr(
                        "{holder} is {shape} in {name} and {shape_2} in {name_2}.",
                        holder=holder,
                        shape=describe_shape(theirs),
                        name=name,
                        shape_2=describe_shape(shape),
                        name_2=one.name,
                    ),
                    tr("Combine adapters of the same base model."),
                )
    parameters: Mapping[str, str] = {}
    for one in sources:
        own = one.adapter.stored.keys.parameters
        if parameters and own and own != parameters:
            raise EngineError(
                tr(
                    "{name} adapts other parameters of fused experts ({own}) than the "
                    "adapter before it ({parameters}); PEFT stores these under names that "
                    "depend on each other.",
                    name=one.name,
                    own=", ".join(own.values()),
                    parameters=", ".join(parameters.values()),
                ),
                tr("Combine adapters with the same target_parameters."),
            )
        parameters = parameters or own


def _refuse_both_ways(sources: Sequence[CombineSource]) -> None:
    """A module saved whole by one source and adapted by another: the sum would need the base."""
    for one in sources:
        for name in one.adapter.stored.keys.whole:
            module = name.rpartition(".")[0]
            for other in sources:
                if other is not one and other.has(module):
                    raise EngineError(
                        tr(
                            "{name} replaces {module} as a whole (modules_to_save), and "
                            "{name_2} adapts it.",
                            name=one.name,
                            module=module,
                            name_2=other.name,
                        ),
                        tr("Combine adapters that train it in the same way."),
                    )


def _digest(tensor: CopiedTensor) -> tuple[str, tuple[int, ...], bytes]:
    """What tells the tensor from another: type, shape and a hash of its bytes."""
    entry, digest = tensor.file.entry(tensor.key), hashlib.sha256()
    for start in range(entry.start, entry.end, COPY_BYTES):
        digest.update(read_exactly(tensor.file.path, start, min(COPY_BYTES, entry.end - start)))
    return entry.dtype, entry.shape, digest.digest()
