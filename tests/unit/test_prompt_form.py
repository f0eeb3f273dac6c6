"""How a comparison asks, decided from what is known of base and adapters."""

from __future__ import annotations

import pytest

from lora_engine.chat_template import template_hash
from lora_engine.compare.prompts.prompt_form import Cause, choose_form
from lora_engine.data.bundled_templates import bundled_templates
from lora_engine.data.trained_template import TrainedTemplate

OWN, CHATML = "{{ messages }}", bundled_templates()["chatml"].source
NONE = bundled_templates()["none"].source
TEXT = TrainedTemplate(True, template_hash(OWN))
CHAT = TrainedTemplate(False, template_hash(OWN), OWN)
BROUGHT = TrainedTemplate(False, template_hash(CHATML), CHATML)
DEFAULT = TrainedTemplate(False, template_hash(None))  # of a base without a template
FOREIGN = TrainedTemplate()


@pytest.mark.parametrize(
    ("base", "trained", "expected"),
    [
        (OWN, {}, ("chat", Cause.TEMPLATE)),
        (None, {}, ("completion", Cause.BARE_BASE)),
        (NONE, {}, ("completion", Cause.BARE_BASE)),  # a whole model trained without one
        ({"default": OWN, "tool_use": OWN}, {}, ("chat", Cause.TEMPLATE)),
        ({"tool_use": OWN}, {}, ("chat", Cause.TEMPLATE)),
        (OWN, {"a": FOREIGN}, ("chat", Cause.TEMPLATE)),
        (None, {"a": FOREIGN}, ("completion", Cause.BARE_BASE)),
        (None, {"a": DEFAULT}, ("chat", Cause.TEMPLATE)),
        (OWN, {"a": CHAT}, ("chat", Cause.TEMPLATE)),
        (OWN, {"a": TEXT}, ("completion", Cause.ADAPTERS)),
        (OWN, {"a": CHAT, "b": TEXT}, ("completion", Cause.ADAPTERS)),
        (None, {"a": DEFAULT, "b": TEXT}, ("completion", Cause.ADAPTERS)),
    ],
)
def test_the_mode_follows_from_what_is_known(base, trained, expected):
    form = choose_form(base, trained)
    assert (form.mode, form.cause) == expected


@pytest.mark.parametrize("trained", [{}, {"a": TEXT}, {"a": CHAT}, {"a": TEXT, "b": BROUGHT}])
def test_a_persons_choice_wins_and_what_it_is_not_trained_for_is_said(trained):
    chat, text = (choose_form(OWN, trained, mode) for mode in ("chat", "completion"))
    assert (chat.mode, text.mode) == ("chat", "completion")
    assert chat.cause is text.cause is Cause.CHOICE
    assert list(text.otherwise) == [name for name, one in trained.items() if not one.is_completion]
    assert [n for n in chat.otherwise if n in chat.without] == list(chat.without)


def test_a_chat_is_written_in_the_first_brought_template():
    form = choose_form(None, {"a": DEFAULT, "b": BROUGHT})
    assert (form.source, form.template, list(form.otherwise)) == (CHATML, "chatml", ["a"])
    same = choose_form(OWN, {"a": CHAT})
    assert (same.source, same.hash, same.otherwise) == (None, template_hash(OWN), {})
    bare = choose_form(None, {"a": DEFAULT})
    assert (bare.source, bare.otherwise) == (None, {})
    assert bare.template.startswith("rankscope-default")


def test_nothing_is_said_against_an_unread_base():
    form = choose_form(None, {"a": CHAT}, base_is_known=False)
    assert (form.mode, form.hash, form.otherwise) == ("chat", None, {})


def test_the_reason_names_the_columns_by_their_titles():
    titles = {"a": "Pirate", "b": "Story"}
    mixed = choose_form(OWN, {"a": CHAT, "b": TEXT}).reason(titles.__getitem__)
    assert "Story learned text" in mixed
    assert "Pirate" not in mixed
