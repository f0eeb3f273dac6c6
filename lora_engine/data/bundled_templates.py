"""The chat templates to choose from for a base that has none: what each is, and where it is from.

Their Jinja lies in `chat_templates/`, in our own words after the published formats. A published
format may differ between versions of one model; which one is meant stands in the template's first
line. `none` writes the texts one behind the other, without roles: plain completion. Which of them a
run takes is the spec's (`dataset.template`); rendering is `templates`'.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lora_engine.chat_template import templates_of
from lora_engine.language import tr

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from lora_engine.spec import TemplateChoice

AUTO: Final = "auto"
DEFAULT_TEMPLATE_NAME = "rankscope-default"
NO_TEMPLATE_NAME: Final = "none"
_FOLDER = Path(__file__).with_name("chat_templates")


@dataclass(frozen=True)
class BundledTemplate:
    """One template: its name, Jinja source, and marks.

    marks: the texts that are one token each in the models it was published with. origin: where the
    format is published.
    """

    name: str
    source: str
    marks: tuple[str, ...]
    origin: str


_MARKS: dict[str, tuple[tuple[str, ...], str]] = {
    DEFAULT_TEMPLATE_NAME: ((), "our own"),
    NO_TEMPLATE_NAME: ((), "our own"),
    "alpaca": ((), "github.com/tloen/alpaca-lora, templates/alpaca.json"),
    "chatml": (("<|im_start|>", "<|im_end|>"), "huggingface.co/Qwen/Qwen2.5-7B-Instruct"),
    "gemma": (("<start_of_turn>", "<end_of_turn>"), "ai.google.dev/gemma/docs/formatting"),
    "llama-2": ((), "github.com/meta-llama/llama, llama/generation.py"),
    "llama-3": (
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "github.com/meta-llama/llama-models, models/llama3",
    ),
    "mistral": ((), "github.com/mistralai/cookbook, concept-deep-dive/tokenization"),
    "phi-3": (
        ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        "huggingface.co/microsoft/Phi-3-mini-4k-instruct",
    ),
    "vicuna": ((), "github.com/lm-sys/FastChat, docs/weights_version.md"),
    "zephyr": ((), "huggingface.co/HuggingFaceH4/zephyr-7b-beta"),
}


@cache
def bundled_templates() -> dict[str, BundledTemplate]:
    """Every template to choose from, by name."""
    return {
        name: BundledTemplate(name, (_FOLDER / f"{name}.jinja").read_text("utf-8"), marks, origin)
        for name, (marks, origin) in _MARKS.items()
    }


def bundled_name_of(source: str) -> str | None:
    """The name of the bundled template with this source; None for any other template."""
    return next((one.name for one in bundled_templates().values() if one.source == source), None)


def choose_template(
    tokenizer: PreTrainedTokenizerBase, choice: TemplateChoice
) -> PreTrainedTokenizerBase:
    """The tokenizer with the chosen template as its own; itself for `auto`, else a copy."""
    if choice == AUTO:
        return tokenizer
    return with_template(tokenizer, bundled_templates()[choice].source)


def with_template(tokenizer: PreTrainedTokenizerBase, source: str) -> PreTrainedTokenizerBase:
    """A copy of the tokenizer, of the same vocabulary, with this Jinja source as its template."""
    changed = copy.copy(tokenizer)
    changed.chat_template = source
    return changed


def choice_warnings(tokenizer: PreTrainedTokenizerBase, choice: TemplateChoice) -> tuple[str, ...]:
    """What a person should know of this choice, asked before `choose_template`.

    That the base's own template gives way, and that marks of the chosen one are no tokens here.
    """
    if choice == AUTO:
        return ()
    found = []
    chosen, own = bundled_templates()[choice], templates_of(tokenizer)
    if own and own != chosen.source:
        found.append(
            tr(
                "The base model has a chat template of its own, and no template is used: it was "
                "trained with its own, so it needs more rows to learn another."
                if choice == NO_TEMPLATE_NAME
                else "The base model has a chat template of its own, and {choice} takes its place: "
                "it was trained with its own, so it needs more rows to learn another.",
                choice=choice,
            )
        )
    known = tokenizer.get_added_vocab().keys() | set(tokenizer.all_special_tokens)
    if lacking := [mark for mark in chosen.marks if mark not in known]:
        found.append(
            tr(
                "The base model's tokenizer has no token for {lacking} of the template "
                "{choice}: plain text of several tokens takes its place, and answers end "
                "with it. The marks of vicuna, alpaca, zephyr and rankscope-default are "
                "plain text anyway.",
                lacking=", ".join(lacking),
                choice=choice,
            )
        )
    return tuple(found)
