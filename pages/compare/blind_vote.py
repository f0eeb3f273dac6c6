"""Blind votes: two answers without names, a choice, and what all choices say together.

Which column stands on which side stays on the server until the vote is in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from lora_engine.compare.prompts import AskAs, QuestionSet, draw_question
from lora_engine.compare.votes import (
    LEFT,
    RIGHT,
    Choice,
    Side,
    Standing,
    answer_pair,
    contestant,
    draw_pair,
    standings,
    win_chance,
)
from lora_engine.data import Message
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.language import tr, translatable
from pages.compare import tools
from pages.compare.column_warnings import mismatch_badges
from pages.compare.conversation import chat_message, column_title
from pages.compare.conversation_fields import ConversationFields, Values, in_words
from pages.shared import layout
from pages.shared.live import Column, live_table, table_value
from pages.shared.stop_button import Stops
from pages.shared.wiring import Update, problem_box, wire

CHOICES = [
    (translatable("Left is better"), Choice.LEFT),
    (translatable("Right is better"), Choice.RIGHT),
    (translatable("A tie"), Choice.TIE),
    (translatable("Both are bad"), Choice.BOTH_BAD),
]
ALL_SETS = translatable("all votes")
SETS = [
    (translatable("my own questions"), str(QuestionSet.OWN)),
    (translatable("held-out rows of the first adapter"), str(QuestionSet.HELD_OUT)),
    (translatable("general questions"), str(QuestionSet.GENERAL)),
]
SIDES = {LEFT: translatable("Left"), RIGHT: translatable("Right")}
NAMED = {LEFT: translatable("Left: {name}"), RIGHT: translatable("Right: {name}")}
REVEALED = {LEFT: translatable("Left was {name}."), RIGHT: translatable("Right was {name}.")}


@dataclass(frozen=True)
class VoteFields:
    """The question, both answers, the choice between them, and the standings."""

    question_set: gr.Dropdown
    question: gr.Textbox
    draw: gr.Button
    ask: gr.Button
    stop: gr.Button
    problem: gr.HTML
    sides: Mapping[str, gr.Chatbot]  # by LEFT and RIGHT
    choices: Mapping[Choice, gr.Button]
    ballot: gr.Textbox
    result: gr.HTML
    counted: gr.Dropdown
    table: gr.HTML

    def locked(self, locked: bool) -> Update:
        """The buttons of the choice."""
        return {button: gr.Button(interactive=not locked) for button in self.choices.values()}


def section(engine: Engine, fields: ConversationFields) -> None:
    """A tab: ask, vote, see who wins and how sure that is."""
    with tools.inside(fields.tabs, tools.VOTE):
        parts = _vote_fields()

    handlers = _Handlers(engine, fields, parts)
    bind = partial(wire, problem=parts.problem)
    ballot = [*parts.sides.values(), parts.ballot, parts.result, *parts.choices.values()]
    bind([parts.draw.click], handlers.draw, [parts.question_set, fields.adapters],
         [parts.question])  # fmt: skip
    bind([parts.ask.click, parts.question.submit], handlers.answer,
         {parts.question_set, parts.question, *fields.inputs}, ballot)  # fmt: skip
    given = [parts.ballot, parts.counted, fields.base, fields.adapters, fields.ask_as]
    for choice, button in parts.choices.items():
        bind([button.click], handlers.vote_for(choice), given, [*ballot, parts.table])
    bind([parts.counted.input], handlers.count, [parts.counted, fields.base], [parts.table])
    handlers.stops.connect(parts.stop)


def _vote_fields() -> VoteFields:
    layout.section(
        tr("Vote blind"),
        tr("Two answers without names: choose the better one, and see who wins over many votes."),
    )
    with gr.Row(elem_classes="rs-vote-question"):
        question_set = gr.Dropdown(
            in_words(SETS),
            value=str(QuestionSet.OWN),
            label=tr("Set of prompts"),
            info=tr("Votes are counted by set."),
            scale=1,
            min_width=240,
            elem_id="vote-set",
        )
        question = gr.Textbox(
            "",
            label=tr("Question to vote on"),
            info=tr("Write one, or draw one from the set."),
            scale=2,
            min_width=240,
            lines=1,
            elem_id="vote-question",
        )
    with gr.Row(elem_classes="rs-actions"):
        draw = gr.Button(tr("Draw a question"), size="sm", elem_id="vote-draw")
        ask = gr.Button(tr("Answer blind"), variant="primary", size="sm", elem_id="vote-ask")
        stop = gr.Button(tr("Stop"), variant="stop", size="sm", elem_id="vote-stop")
    problem = problem_box()
    with gr.Row(elem_classes="rs-sides"):
        sides = {name: _side(name) for name in (LEFT, RIGHT)}
    with gr.Row(elem_classes="rs-actions"):
        choices = {
            choice: gr.Button(tr(words), interactive=False, elem_id=f"vote-{index}", min_width=120)
            for index, (words, choice) in enumerate(CHOICES)
        }
    ballot = gr.Textbox("", visible=False)
    result = gr.HTML(elem_id="vote-result")
    counted = gr.Dropdown(
        in_words([(ALL_SETS, ALL_SETS), *SETS]),
        value=ALL_SETS,
        label=tr("Count"),
        elem_id="vote-counted",
    )
    table = live_table(label=tr("Votes"), file_name="votes.csv", elem_id="vote-table")
    return VoteFields(
        question_set, question, draw, ask, stop, problem, sides, choices, ballot, result, counted,
        table,
    )  # fmt: skip


class _Handlers:
    """What the section's events do."""

    def __init__(self, engine: Engine, fields: ConversationFields, parts: VoteFields) -> None:
        self.engine = engine
        self.fields = fields
        self.parts = parts
        self.stops = Stops()

    def draw(self, question_set: str, adapters: list[str]) -> str:
        if not adapters:
            raise EngineError(tr("No adapter is chosen."), tr("Choose one above."))
        folder = self.engine.adapters.get(adapters[0]).path
        return draw_question(QuestionSet(question_set), folder, self.engine.settings)

    def answer(self, values: Values, request: gr.Request) -> Iterator[Update]:
        """Both answers as they grow, then a ballot to vote on."""
        parts = self.parts
        question = values[parts.question]
        conversation = self.fields.read(values)
        if not question.strip():
            raise EngineError(tr("The question is empty."), tr("Write one, or draw one."))
        yield self._sides(question, dict.fromkeys(SIDES, ""))  # their room, before the first word
        model = conversation.model(self.engine)
        pair = draw_pair(model)
        messages = [*conversation.system_messages, Message("user", question)]
        emptied: Update = {parts.ballot: "", parts.result: "", **parts.locked(True)}
        texts: dict[str, str] = {}
        with self.stops.running(request) as stop:
            for progress in answer_pair(model, pair, messages, conversation.sampling, stop):
                texts = {name: column.text for name, column in progress.columns.items()}
                yield {**self._sides(question, texts), **emptied}
            if stop.is_set():
                return
        left, right = (
            Side(contestant(model, column, column_title(self.engine, column)), texts[side])
            for side, column in ((LEFT, pair.left), (RIGHT, pair.right))
        )
        question_set = str(QuestionSet(values[parts.question_set]))
        ballot = self.engine.compare.votes.add(
            model.shared.fingerprint, question_set, question, left, right
        )
        yield {
            **self._sides(question, texts),
            parts.ballot: ballot,
            parts.result: f"<p>{tr('Which answer is better?')}</p>",
            **parts.locked(False),
        }

    def vote_for(self, choice: Choice) -> Callable[..., Update]:
        """The handler that votes for `choice` and names both sides.

        That an adapter was trained with another chat template stands beside its name, and so not
        before the vote.
        """

        def vote(
            ballot_id: str, counted: str, base: str, adapters: list[str], ask_as: AskAs
        ) -> Update:
            parts = self.parts
            ballot = self.engine.compare.votes.vote(ballot_id, choice)
            names = {LEFT: ballot.left.contestant.name, RIGHT: ballot.right.contestant.name}
            revealed = " ".join(tr(REVEALED[side], name=name) for side, name in names.items())
            mismatches = self._mismatches(set(names.values()), base, adapters, ask_as)
            return {
                **{
                    parts.sides[side]: gr.Chatbot(label=tr(NAMED[side], name=name))
                    for side, name in names.items()
                },
                parts.ballot: "",
                parts.result: f'<p role="status">{escape(revealed)}</p>{mismatches}',
                **parts.locked(True),
                parts.table: self._standings(ballot.base, counted),
            }

        return vote

    def count(self, counted: str, base: str) -> str:
        model = self.engine.compare.model(base, [])
        return self._standings(model.shared.fingerprint, counted)

    def _sides(self, question: str, texts: Mapping[str, str]) -> Update:
        update: Update = {}
        for side, box in self.parts.sides.items():
            messages: list[Any] = [
                chat_message("user", question),
                chat_message("assistant", texts[side]),
            ]
            update[box] = gr.Chatbot(value=messages, label=tr(SIDES[side]))
        return update

    def _mismatches(
        self, named: Collection[str], base: str, adapters: list[str], ask_as: AskAs
    ) -> str:
        found = self.engine.compare.check_compatibility(base, adapters, ask_as).other_template
        titles = {column_title(self.engine, column): words for column, words in found.items()}
        return mismatch_badges({name: w for name, w in titles.items() if name in named})

    def _standings(self, base: str, counted: str) -> str:
        question_set = None if counted == ALL_SETS else counted
        voted = self.engine.compare.votes.voted(base, question_set)
        rows = [_row(one) for one in standings(voted)]
        return table_value(standing_columns(), rows, empty=tr("No votes on this base yet."))


def _side(name: str) -> gr.Chatbot:
    return gr.Chatbot(
        label=tr(SIDES[name]),
        height="100%",
        elem_id=f"vote-{name}",
        buttons=[],
        layout="bubble",
        feedback_options=None,
        allow_tags=False,
        latex_delimiters=layout.LATEX,
        min_width=0,
        placeholder=f'<p class="rs-about">{tr("An answer, and no name until you have voted")}</p>',
    )


def standing_columns() -> tuple[Column, ...]:
    return (
        Column(tr("Who")),
        Column(tr("Votes"), layout.count, numeric=True),
        Column(tr("Won"), layout.count, numeric=True),
        Column(tr("Ties"), layout.count, numeric=True),
        Column(tr("Both bad"), layout.count, numeric=True),
        Column(tr("Win rate"), layout.share, numeric=True),
        Column(tr("95 % interval")),
        Column(tr("Beats the base (Bradley–Terry)")),
    )


def _row(one: Standing) -> tuple:
    strength = one.strength
    if strength is None:
        chance = tr("more votes are needed")
    elif strength.low == strength.high:
        chance = tr("is what the others are measured against")
    else:
        chance = tr(
            "{chance} ({low} to {high})",
            chance=f"{win_chance(strength.value):.0%}",
            low=f"{win_chance(strength.low):.0%}",
            high=f"{win_chance(strength.high):.0%}",
        )
    counts = (one.votes, one.wins, one.ties, one.both_bad)
    interval = tr("{low} to {high}", low=f"{one.low:.0%}", high=f"{one.high:.0%}")
    return (one.contestant.name, *counts, one.win_rate, interval, chance)
