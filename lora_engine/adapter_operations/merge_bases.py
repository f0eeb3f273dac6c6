"""Which weights an adapter can be merged into: one answer, or two where its base was quantized.

    original      16- or 32-bit weights
    dequantized   quantized ones as training saw them: rounded, then widened again

A QLoRA run quantizes its base on loading, so the original weights lie in the base's own folder. Of
a base that is stored in 4 or 8 bits they are a model of their own. Loads nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lora_engine.adapter_operations.merge_report import Weights
from lora_engine.base_models import BaseModel, StoredQuantization, stored_quantization
from lora_engine.base_models.weight_files import local_folder
from lora_engine.compare.prompts import training_spec_of
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spec import QuantizationSpec


@dataclass(frozen=True)
class MergeBases:
    """The weights to choose from.

    base, folder: what the adapter was trained on. stored: how its files are quantized.
    on_loading: how the adapter's run quantized plain files. original: the folder of the model that
    quantized files were made from.
    """

    base: BaseModel
    folder: Path
    stored: StoredQuantization | None
    on_loading: QuantizationSpec | None
    original: Path | None

    @property
    def possible(self) -> tuple[Weights, ...]:
        """What can be merged into, that which the adapter was trained on first."""
        if self.stored is None and self.on_loading is None:
            return ("original",)
        if self.stored is not None and self.original is None:
            return ("dequantized",)
        return ("dequantized", "original")

    def chosen(self, asked: Weights | None) -> Weights:
        """The weights to keep. Raises EngineError for those that are not there."""
        if asked is None or asked in self.possible:
            return asked or self.possible[0]
        raise EngineError(
            tr(
                "The weights {asked} are not there; {possible} can be merged into.",
                asked=f"{asked!r}",
                possible=f"{self.possible[0]!r}",
            ),
            tr("Give the 16-bit model that the base was made from as the original.")
            if asked == "original"
            else tr("Only an adapter that was trained on quantized weights has such."),
        )

    def folder_of(self, weights: Weights) -> Path:
        """Where the weights lie that are merged into."""
        return self.original if weights == "original" and self.original else self.folder


def merge_bases(adapter: Path, base: BaseModel, original: BaseModel | None = None) -> MergeBases:
    """What the adapter in a folder can be merged into.

    original: the 16-bit model that a base stored in 4 or 8 bits was made from.
    Raises EngineError for weights that are not on this machine, an original of a base that is not
    stored quantized, and one that is quantized itself.
    """
    folder = local_folder(base)
    if folder is None:
        raise EngineError(
            tr("The weights of {name} are not in the local model cache.", name=f"{base.name!r}"),
            tr("Load the model once while online."),
        )
    local = BaseModel(base.name, folder)
    stored = stored_quantization(local)
    return MergeBases(
        base=local,
        folder=folder,
        stored=stored,
        on_loading=quantized_in_training(adapter) if stored is None else None,
        original=None if original is None else _original_folder(original, stored is not None),
    )


def _original_folder(original: BaseModel, is_stored: bool) -> Path:
    if not is_stored:
        raise EngineError(
            tr("An original model is given, and the base is not stored quantized."),
            tr("Leave the original out: the base's own weights are the original ones."),
        )
    folder = local_folder(original)
    if folder is None or stored_quantization(BaseModel(original.name, folder)) is not None:
        raise EngineError(
            tr("{name} is no 16- or 32-bit model here.", name=f"{original.name!r}"),
            tr("Give the model that the quantized base was made from."),
        )
    return folder


def quantized_in_training(adapter: Path) -> QuantizationSpec | None:
    """The bits that a run quantized its base to on loading; None where it is not known."""
    try:
        return training_spec_of(adapter).quantization
    except EngineError:
        return None
