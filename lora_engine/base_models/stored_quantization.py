"""How the files of a base model hold its weights: as numbers, or quantized, and by which method.

config.json says it, a file of the quantizing tool beside it, or the tensors themselves. What is
read here is loaded as it is stored (bitsandbytes) or widened (FP8 with block scales); everything
else is refused by its name: loaded without its method, codes are taken for weights, scales are left
aside, and weights not found under their own name are drawn at random. Reads headers, no weight.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lora_engine.base_models.config_file import config_of
from lora_engine.base_models.find import BaseModel
from lora_engine.base_models.fp8_scales import refuse_other_scales
from lora_engine.base_models.quantization_methods import (
    give_the_original,
    in_words,
    method_of,
    side_file,
    stored_bits,
    unreadable,
)
from lora_engine.base_models.weight_files import listed, local_folder, weight_files
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spec import QuantizationSpec, RunSpec
from lora_engine.weights.packed_tensors import STATE, UNKNOWN, packing_method
from lora_engine.weights.safetensors_file import TensorEntry

KEYS = ("quantization_config", "compression_config")  # the second: compressed-tensors' older name
MLX_KEY = "quantization"
NESTED, SCALE_8_BIT = ".nested_absmax", ".SCB"


@dataclass(frozen=True)
class StoredQuantization:
    """A quantization that is read here.

    spec: the bits that the weights keep in memory; None for FP8, which is widened on loading.
    """

    method: str
    spec: QuantizationSpec | None

    def __str__(self) -> str:
        if self.spec is None:
            return in_words(self.method)
        return in_words(self.method, self.spec.bits, self.spec.type if self.spec.bits == 4 else "")


def stored_quantization(base: BaseModel) -> StoredQuantization | None:
    """How the base's weights are quantized in its files; None where they are plain numbers.

    Of a hub id whose files are not here yet, config.json alone is looked at. Raises EngineError
    for a method that is not read here, and where config.json and the tensors contradict each other.
    """
    folder = local_folder(base)
    entry = _entry(base, folder)
    if folder is None:
        return None if entry is None else _as_said(entry)
    tensors = {name: t for file in weight_files(folder) for name, t in file.tensors.items()}
    packed = _packed(tensors)
    if entry is None:
        if packed:
            raise _unsaid(base.name, packed)
        return None
    stored = _as_said(entry)
    if set(packed) != {stored.method}:
        raise _contradiction(base.name, stored, packed)
    if stored.spec is None:
        refuse_other_scales(base.name, entry, tensors, packed["fp8"])
        return stored
    return replace(stored, spec=_spec_of(base.name, stored.spec, tensors))


def spec_on_base(spec: RunSpec, base: BaseModel) -> RunSpec:
    """The spec as it runs on this base: a base that is stored in 4 or 8 bits is trained in them.

    Raises EngineError where the spec asks for other bits than those stored, and as
    `stored_quantization` does.
    """
    stored = stored_quantization(base)
    if stored is None:
        return spec
    asked = spec.quantization
    if asked is not None and (stored.spec is None or _differ(asked, stored.spec)):
        kind = f" ({asked.type})" if asked.bits == 4 else ""
        raise EngineError(
            tr(
                "The run asks for {bits} bits{kind}, but the base model {name} is stored "
                "with {stored}.",
                bits=asked.bits,
                kind=kind,
                name=f"{base.name!r}",
                stored=stored,
            ),
            tr("Leave quantization empty, or give the 16-bit model it was made from."),
        )
    if spec.method.init == "loftq":
        raise EngineError(
            tr(
                "LoftQ reads the weights before their quantization, and the base model "
                "{name} is stored with {stored}.",
                name=f"{base.name!r}",
                stored=stored,
            ),
            tr("Choose another init, or give the 16-bit model it was made from."),
        )
    return spec.model_copy(update={"quantization": stored.spec})


def _differ(asked: QuantizationSpec, stored: QuantizationSpec) -> bool:
    """Whether a person's choice is not what is stored. Double quantization is kept as stored."""
    if asked.bits != stored.bits:
        return True
    return asked.bits == 4 and "type" in asked.model_fields_set and asked.type != stored.type


def _entry(base: BaseModel, folder: Path | None) -> Mapping[str, Any] | None:
    """The quantization_config of a method that is read here; None where the base has none.

    Raises EngineError for every other method, which a file beside config.json may name too.
    """
    for entry in _entries(config_of(base)):
        method, bits = method_of(entry), stored_bits(entry)
        if method is None:
            raise EngineError(
                tr(
                    "config.json of {name} has a quantization that cannot be understood: "
                    "{entry}; an object with quant_method is allowed.",
                    name=f"{base.name!r}",
                    entry=f"{str(entry)[:100]!r}",
                ),
                tr(
                    "Give the 16-bit model, or take the entry out where the weights are not "
                    "quantized."
                ),
            )
        if method == "fp8" or (method == "bitsandbytes" and bits in (4, 8)):
            return entry
        raise unreadable(base.name, method, bits, "config.json")
    beside = side_file(folder) if folder is not None else None
    if beside is not None:
        raise unreadable(base.name, *beside)
    return None


def _as_said(entry: Mapping[str, Any]) -> StoredQuantization:
    """What a quantization_config says, without a look at the tensors."""
    if method_of(entry) == "fp8":
        return StoredQuantization("fp8", None)
    return StoredQuantization(
        "bitsandbytes", QuantizationSpec(bits=8 if stored_bits(entry) == 8 else 4)
    )


def _entries(config: Any) -> Iterator[Any]:
    """What stands under the keys, in the configuration and in those of its parts (text_config)."""
    if not isinstance(config, Mapping):
        return
    for part in (config, *config.values()):
        if isinstance(part, Mapping):
            yield from (part[key] for key in KEYS if part.get(key) is not None)
            if method_of(part.get(MLX_KEY)) is not None:
                yield part[MLX_KEY]


def _packed(tensors: Mapping[str, TensorEntry]) -> dict[str, list[str]]:
    """The names of packed tensors by their method."""
    found: dict[str, list[str]] = {}
    for name in tensors:
        method = packing_method(tensors, name)
        if method is not None:
            found.setdefault(method, []).append(name)
    return found


def _spec_of(
    name: str, said: QuantizationSpec, tensors: Mapping[str, TensorEntry]
) -> QuantizationSpec:
    """The bits and the type that the tensors of bitsandbytes have."""
    types = sorted({tensor.partition(STATE)[2] for tensor in tensors if STATE in tensor})
    if any(tensor.endswith(SCALE_8_BIT) for tensor in tensors):
        types.append("int8")
    if len(types) != 1 or (said.bits == 8) != (types == ["int8"]):
        raise EngineError(
            tr(
                "config.json of {name} says that its weights are stored in {bits} bits, and "
                "its files hold weights of bitsandbytes in {types}.",
                name=f"{name!r}",
                bits=said.bits,
                types=" and ".join(types),
            ),
            tr("Get the model folder from its source again, or give the 16-bit model."),
        )
    if said.bits == 8:
        return said
    double = any(tensor.endswith(NESTED) for tensor in tensors)
    return QuantizationSpec(bits=4, type="fp4" if types == ["fp4"] else "nf4", double=double)


def _unsaid(name: str, packed: Mapping[str, list[str]]) -> EngineError:
    method, tensors = next(iter(packed.items()))
    if method == UNKNOWN:
        return EngineError(
            tr(
                "The base model {name} holds weights that are no floats of 16 bits and more, "
                "and nothing says how they become such: {listed}.",
                name=f"{name!r}",
                listed=listed(tensors),
            ),
            tr("Give the 16-bit model it was made from."),
        )
    return EngineError(
        tr(
            "The base model {name} is stored with {in_words}, as its tensors say ({listed}), "
            "and its config.json has no quantization_config.",
            name=f"{name!r}",
            in_words=in_words(method),
            listed=listed(tensors),
        ),
        give_the_original(method),
    )


def _contradiction(
    name: str, said: StoredQuantization, packed: Mapping[str, list[str]]
) -> EngineError:
    found = [f"{in_words(method)} ({listed(tensors)})" for method, tensors in packed.items()]
    if found:
        return EngineError(
            tr(
                "config.json of {name} says that its weights are stored with {said}, and its "
                "files hold weights of {found}.",
                name=f"{name!r}",
                said=said,
                found=", ".join(found),
            ),
            tr("Give a folder whose config.json fits its files."),
        )
    return EngineError(
        tr(
            "config.json of {name} says that its weights are stored with {said}, and its files "
            "hold no quantized weight.",
            name=f"{name!r}",
            said=said,
        ),
        tr(
            "Give a folder whose config.json fits its files, or take quantization_config out of it."
        ),
    )
