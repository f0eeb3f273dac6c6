"""The forms that an adapter is exported in, and what each is, in words for the person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from lora_engine.adapter_operations.merge_report import DType
from lora_engine.errors import FieldProblem, InvalidInput
from lora_engine.language import tr, translatable

Form = Literal["adapter", "portable", "merged", "ollama", "gguf", "merged-gguf"]
Requantization = Literal["nf4", "int8"]

FORM_WORDS: Mapping[Form, str] = {
    "adapter": translatable("as it is, for PEFT"),
    "portable": translatable("the same update for every reader of LoRA"),
    "merged": translatable("a whole model, for programs that take no adapter"),
    "ollama": translatable("a Modelfile with a portable adapter, the template and the stop tokens"),
    "gguf": translatable("one file for llama.cpp, by its own converter where LLAMA_CPP_DIR is set"),
    "merged-gguf": translatable(
        "the whole model with the adapter added, as one file for llama.cpp and Ollama"
    ),
}
"""What is written; every form has its words."""

DTYPE_HELP = translatable("Of a merged model; left out, as the base stores its weights.")
SYSTEM_HELP = translatable(
    "For Ollama: what the model is told before every conversation; left out, nothing."
)
WITH_BASE_HELP = translatable("For GGUF: write the base beside the adapter, as base.gguf.")
MEASURE_HELP = translatable("Load base and export, and compare with what was trained.")
REQUANTIZED_HELP = translatable(
    "Measure it also with its base requantized by bitsandbytes, to 4 bits or to 8."
)
REQUANTIZATIONS: tuple[Requantization, ...] = get_args(Requantization)
PUSH_HELP = translatable("Push it to this repository of the hub.")
PRIVATE_HELP = translatable("Who may see a new repository.")


def form_named(name: str) -> Form:
    """The form of this name. Raises InvalidInput."""
    for form in get_args(Form):
        if name == form:
            return form
    raise _unknown("form", name, get_args(Form))


def dtype_named(name: str) -> DType:
    """The dtype of this name. Raises InvalidInput."""
    for dtype in get_args(DType):
        if name == dtype:
            return dtype
    raise _unknown("dtype", name, get_args(DType))


def requantizations_named(names: str) -> tuple[Requantization, ...]:
    """The kinds in a list with commas, each once. Raises InvalidInput."""
    asked = [one.strip().lower() for one in names.split(",") if one.strip()]
    for one in asked:
        if one not in REQUANTIZATIONS:
            raise _unknown("requantized", one, REQUANTIZATIONS)
    return tuple(one for one in REQUANTIZATIONS if one in asked)


def _unknown(field: str, name: str, allowed: tuple[str, ...]) -> InvalidInput:
    message = tr(
        "got {name}; allowed are {names}", name=f"{name[:100]!r}", names=", ".join(allowed)
    )
    return InvalidInput(
        tr("The export"), [FieldProblem(field, message)], tr("Give one that is allowed.")
    )


def forms_help() -> str:
    """All forms in one text."""
    return " ".join(f"{form}: {tr(words)}." for form, words in FORM_WORDS.items())
