"""The forms that an adapter is exported in, and what each is, in words for the person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Form = Literal["adapter", "portable", "merged", "ollama", "gguf"]

FORM_WORDS: Mapping[Form, str] = {
    "adapter": "as it is, for PEFT",
    "portable": "the same update for every reader of LoRA",
    "merged": "a whole model, for programs that take no adapter",
    "ollama": "a Modelfile with a portable adapter, the template and the stop tokens",
    "gguf": "one file for llama.cpp, by its own converter where LLAMA_CPP_DIR is set",
}
"""What is written; every form has its words."""

DTYPE_HELP = "Of a merged model; left out, as the base stores its weights."
SYSTEM_HELP = "For Ollama: what the model is told before every conversation; left out, nothing."
MEASURE_HELP = "Load base and export, and compare with what was trained."


def forms_help() -> str:
    """All forms in one text."""
    return " ".join(f"{form}: {words}." for form, words in FORM_WORDS.items())
