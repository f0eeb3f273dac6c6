"""Who answers when an export is measured: what was trained, what was written, and what was written
on a base that is requantized.

    nf4    4-bit NormalFloat, doubly quantized (arXiv 2305.14314)
    int8   8 bits, outliers apart (LLM.int8, arXiv 2208.07339)

Both by bitsandbytes, of all linear layers but the head, while the model loads. What was trained is
the adapter on the base as its run had it, quantized too where the run did that. Measures nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lora_engine.adapter_operations.merge_bases import quantized_in_training
from lora_engine.base_models import BaseModel, stored_quantization
from lora_engine.compare.generate import BASE_COLUMN, ComparisonModel
from lora_engine.compare.generate.shared_base import SharedBase
from lora_engine.compare.service import Comparisons
from lora_engine.errors import EngineError
from lora_engine.export.export_adapter import ExportReport
from lora_engine.export.fidelity import EXPORTED, TRAINED, Voice
from lora_engine.export.forms import Requantization
from lora_engine.language import tr
from lora_engine.settings import Settings
from lora_engine.spec import QuantizationSpec

SPECS: Mapping[Requantization, QuantizationSpec] = {
    "nf4": QuantizationSpec(bits=4, type="nf4", double=True),
    "int8": QuantizationSpec(bits=8),
}


def trained_voice(
    base: BaseModel, adapter: Path, comparisons: Comparisons, settings: Settings
) -> Voice:
    """The adapter on its base, in the model that the comparisons keep where that is the same.

    Raises EngineError as `Comparisons.model_of` and `SharedBase.load`.
    """
    quantization = quantized_for_training(base, adapter)
    if quantization is None:
        model = comparisons.model_of(base, {})
    else:
        model = ComparisonModel(SharedBase.load(base, settings, quantization), {})
    model.add_adapter(TRAINED, adapter)
    return Voice(model, TRAINED)


def quantized_for_training(base: BaseModel, adapter: Path) -> QuantizationSpec | None:
    """How the adapter's run quantized this base while it loaded; None where it did not."""
    return None if stored_quantization(base) is not None else quantized_in_training(adapter)


def exported_voice(trained: Voice, report: ExportReport, settings: Settings) -> Voice:
    """What was written: an adapter in the model of the trained one, a merged model beside it."""
    if report.adapter is None:
        merged = BaseModel(report.path.name, report.path)
        # Asked as the trained one is: a merged model does not say how its rows were written.
        asked_as = trained.model.form.mode
        return Voice(ComparisonModel.load(merged, {}, settings, asked_as), BASE_COLUMN)
    trained.model.add_adapter(EXPORTED, report.adapter)
    return Voice(trained.model, EXPORTED)


def requantized_voice(
    trained: Voice,
    base: BaseModel,
    report: ExportReport,
    kind: Requantization,
    settings: Settings,
) -> Voice:
    """What was written, with its base (a merged model itself) requantized. Loads it anew, to be
    asked as `trained` is.

    Raises EngineError for a base that is stored quantized, and as `SharedBase.load`.
    """
    if report.adapter is None:
        base = BaseModel(report.path.name, report.path)
    stored = stored_quantization(base)
    if stored is not None:
        raise EngineError(
            tr(
                "{name} is stored as {stored}, so it is not requantized.",
                name=f"{base.name!r}",
                stored=stored,
            ),
            tr("Give the 16-bit model that it was made from as the base."),
        )
    shared = SharedBase.load(base, settings, SPECS[kind])
    model = ComparisonModel(shared, {}, trained.model.form.mode)
    if report.adapter is None:
        return Voice(model, BASE_COLUMN)
    model.add_adapter(EXPORTED, report.adapter)
    return Voice(model, EXPORTED)
