"""How a comparison asks: as a chat in a template, or with a text to continue; and why.

All columns are asked in one way, so that they answer the same tokens and can be scored on them.
Decided from what stands beside the adapters' weights, before anything is loaded. A person's choice
wins over what is decided here, and whatever a column was not trained for is said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from lora_engine.chat_template import DEFAULT, Templates, template_hash
from lora_engine.data.bundled_templates import (
    DEFAULT_TEMPLATE_NAME,
    NO_TEMPLATE_NAME,
    bundled_name_of,
)
from lora_engine.data.trained_template import TrainedTemplate
from lora_engine.language import tr

Mode = Literal["chat", "completion"]
AskAs = Literal["auto", "chat", "completion"]


class Cause(StrEnum):
    """Why a comparison asks as it does: a person's choice, adapters without a template, a base
    without one, or that there is a template."""

    CHOICE = "choice"
    ADAPTERS = "adapters"
    BARE_BASE = "bare base"
    TEMPLATE = "template"


@dataclass(frozen=True)
class PromptForm:
    """mode: how every column is asked. cause: why.

    without: the columns of adapters that were trained without a template; mixed: whether others
    were trained with one. source: the Jinja source that chats are written in where an adapter
    brings it; None for the base's own. hash: of the templates that chats are written in; None where
    the base's cannot be read. template: what it is called. otherwise: by column, a sentence about
    an adapter that was trained otherwise than it is asked; it follows the column's name.
    """

    mode: Mode
    cause: Cause
    without: tuple[str, ...] = ()
    mixed: bool = False
    source: str | None = None
    hash: str | None = None
    template: str = ""
    otherwise: Mapping[str, str] = field(default_factory=dict)

    def reason(self, title: Callable[[str], str] = str) -> str:
        """How and why it is asked, as a sentence. title: what a column is called."""
        names = ", ".join(map(title, self.without))
        if self.mode == "chat" and names:
            return tr(
                "Every column is asked as a chat (template: {template}). {names} learned text "
                "without one.",
                template=self.template,
                names=names,
            )
        if self.mode == "chat":
            return tr(
                "Every column is asked as a chat (template: {template}).", template=self.template
            )
        if self.cause is Cause.CHOICE:
            return tr("Every column continues the text as it stands, because you chose it.")
        if self.cause is Cause.BARE_BASE:
            return tr(
                "Every column continues the text as it stands: the base model has no chat template."
            )
        if self.mixed:
            return tr(
                "Every column continues the text as it stands: {names} learned text without a chat "
                "template, whose marks it never saw.",
                names=names,
            )
        return tr(
            "Every column continues the text as it stands: {names} learned text without a chat "
            "template.",
            names=names,
        )


def choose_form(
    base: Templates,
    trained: Mapping[str, TrainedTemplate],
    ask_as: AskAs = "auto",
    base_is_known: bool = True,
) -> PromptForm:
    """The form for a base with these templates and adapters, by column in their order.

    Without a choice: a text to continue as soon as one adapter was trained without a template, for
    its marks are what that adapter never saw, while any model can continue a text. Chats are
    written in the base's template, or in that of the first adapter which brings another.
    """
    ours = template_hash(base) if base_is_known else None
    without = tuple(column for column, one in trained.items() if one.is_completion)
    mixed = 0 < len(without) < len(trained)
    mode, cause = _mode(base, base_is_known, trained)
    if ask_as != "auto":
        mode, cause = ask_as, Cause.CHOICE
    if mode == "completion":
        return PromptForm(
            mode, cause, without, mixed, hash=ours, otherwise=_without_template(trained)
        )
    brought = next((one for one in trained.values() if one.source and one.hash != ours), None)
    source = None if brought is None or ours is None else brought.source
    used = ours if source is None or brought is None else brought.hash
    return PromptForm(
        mode,
        cause,
        without,
        mixed,
        source,
        used,
        _name_of(base, source, base_is_known),
        _with_template(trained, used, ours),
    )


def template_mismatch(theirs: str, used: str, ours: str | None) -> str:
    """The sentence that follows the name of an adapter whose template has another hash.

    used: the hash of the template that it is asked in; ours: of the base's.
    """
    if used == ours:
        return tr(
            "was trained with another chat template ({theirs}) than this base model has ({used}): "
            "it reads the questions otherwise than in training.",
            theirs=theirs[:64],
            used=used,
        )
    return tr(
        "was trained with another chat template ({theirs}) than it is asked in here ({used}): it "
        "reads the questions otherwise than in training.",
        theirs=theirs[:64],
        used=used,
    )


def _mode(
    base: Templates, base_is_known: bool, trained: Mapping[str, TrainedTemplate]
) -> tuple[Mode, Cause]:
    if any(one.is_completion for one in trained.values()):
        return "completion", Cause.ADAPTERS
    if any(one.is_completion is False for one in trained.values()) or not base_is_known:
        return "chat", Cause.TEMPLATE
    own = _default_of(base)
    if not base or (own and bundled_name_of(own) == NO_TEMPLATE_NAME):
        return "completion", Cause.BARE_BASE
    return "chat", Cause.TEMPLATE


def _default_of(base: Templates) -> str | None:
    return base.get(DEFAULT) if isinstance(base, dict) else base


def _name_of(base: Templates, source: str | None, base_is_known: bool) -> str:
    if source is not None:
        return bundled_name_of(source) or tr("the one that the adapter brought")
    own = _default_of(base)
    if not base and base_is_known:
        return tr("{name}, for the base model has none", name=DEFAULT_TEMPLATE_NAME)
    return (bundled_name_of(own) if own else None) or tr("the base model's own")


def _without_template(trained: Mapping[str, TrainedTemplate]) -> dict[str, str]:
    return {
        column: tr("was trained with a chat template, and is asked without one here.")
        for column, one in trained.items()
        if one.is_completion is False
    }


def _with_template(
    trained: Mapping[str, TrainedTemplate], used: str | None, ours: str | None
) -> dict[str, str]:
    words = {}
    for column, one in trained.items():
        if one.is_completion:
            words[column] = tr("was trained without a chat template, and is asked in one here.")
        elif one.hash is not None and used is not None and one.hash != used:
            words[column] = template_mismatch(one.hash, used, ours)
    return words
