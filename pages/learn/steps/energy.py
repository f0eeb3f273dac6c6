"""Step: how few singular values hold most of an update, measured on the starter."""

from __future__ import annotations

from typing import Any

from lora_engine.language import tr, translatable
from lora_engine.lesson import read_measured
from pages import SPECTRUM
from pages.learn import parts
from pages.learn.step import Lesson, Step, TryIt


def build(lesson: Lesson) -> None:
    del lesson
    parts.picture("learn/energy.js", "energy", _content(), height=568, elem_id="energy-picture")
    parts.remark(_verdict())


def _content() -> dict[str, Any]:
    found = read_measured()
    how = found.how
    return {
        "updates": [one.model_dump(mode="json") for one in found.energy],
        "words": {
            "chart": tr("The energy that the first k singular values hold, a line for each module"),
            "values": tr("singular values kept, k"),
            "share": tr("energy"),
            "k": tr("Values kept"),
            "trained": {"full": tr("full fine-tuning"), "lora r64": tr("LoRA of rank 64")},
            "result": tr(
                "{trained}: at k = {k}, {count} of {all} modules hold 90 %; the median module "
                "holds {share}. For 90 % it needs {median} values, the hungriest module {most}."
            ),
            "how": tr(
                "Measured on {date}: the starter learned {dataset} for {epochs} epochs, both ways. "
                "Again with “{command}”.",
                date=how.date,
                dataset=how.dataset,
                epochs=f"{how.epochs:g}",
                command=how.command,
            ),
        },
    }


def _verdict() -> str:
    """What came out of the notes' claim, in numbers."""
    full = read_measured().energy_of("full").values_for_90
    lora = read_measured().energy_of("lora r64").values_for_90
    counted = {
        "full": sum(needed <= 20 for needed in full.values()),
        "full_all": len(full),
        "lora": sum(needed <= 20 for needed in lora.values()),
        "lora_all": len(lora),
    }
    return tr(
        "The notes say that 10 to 20 singular values hold 90 % of an update. Here that is true of "
        "{full} of {full_all} modules under full fine-tuning and of {lora} of {lora_all} under "
        "LoRA. It is a fact about a model and a task, not a law: measure yours. And energy is not "
        "loss: the small values may still matter.",
        **counted,
    )


STEP = Step(
    key="energy",
    title=translatable("Few values hold most"),
    claim=translatable(
        "What fine-tuning changes lies in far fewer directions than the matrix has."
    ),
    formula=r"$$E_k = \frac{\sigma_1^2 + \dots + \sigma_k^2}{\|\Delta W\|_F^2}$$",
    build=build,
    try_it=(TryIt(translatable("Your adapter in Spectrum"), SPECTRUM, {}),),
)
