"""Blind votes: two answers without names, a choice, and what all choices say together.

Which column stands on which side stays on the server until the vote is in.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

import gradio as gr

from lora_engine.compare.prompts.suggestions import QuestionSet, draw_question
from lora_engine.compare.votes.blind_pair import LEFT, RIGHT, answer_pair, contestant, draw_pair
from lora_engine.compare.votes.bradley_terry import win_chance
from lora_engine.compare.votes.standings import Standing, standings
from lora_engine.compare.votes.vote_store import Ballot, Choice, Side
from lora_engine.data import Message
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from pages.compare import conversation, token_by_token
from pages.compare.conversation import Talk, turn
from pages.shared import layout
from pages.shared.live import Column, live_table, table_value
from pages.shared.stop_button import Stops
from pages.shared.wiring import problem_box, wire

CHOICES = [
    ("Left is better", Choice.LEFT),
    ("Right is better", Choice.RIGHT),
    ("A tie", Choice.TIE),
    ("Both are bad", Choice.BOTH_BAD),
]
ALL_SETS = "all votes"
STANDING_COLUMNS = (
    Column("Who"),
    Column("Votes", layout.count, numeric=True),
    Column("Won", layout.count, numeric=True),
    Column("Ties", layout.count, numeric=True),
    Column("Both bad", layout.count, numeric=True),
    Column("Win rate", layout.share, numeric=True),
    Column("95 % interval"),
    Column("Beats the base (Bradley–Terry)"),
)


class _Vote:
    """The components of this section."""

    def __init__(self) -> None:
        with gr.Row(elem_classes="rs-actions"):
            self.set = gr.Dropdown(
                [(str(one), str(one)) for one in QuestionSet], value=str(QuestionSet.OWN),
                label="Set of prompts", info="Votes are counted by set.", scale=1,
                elem_id="vote-set",
            )  # fmt: skip
            self.question = gr.Textbox(
                "", label="Question to vote on", scale=2, lines=1, elem_id="vote-question"
            )
        with gr.Row(elem_classes="rs-actions"):
            self.draw = gr.Button("Draw a question", size="sm", elem_id="vote-draw")
            self.ask = gr.Button("Answer blind", variant="primary", size="sm", elem_id="vote-ask")
            self.stop = gr.Button("Stop", variant="stop", size="sm", elem_id="vote-stop")
        self.problem = problem_box()
        with gr.Row(elem_classes="rs-columns"):
            self.sides = [_side(name) for name in (LEFT, RIGHT)]
        with gr.Row(elem_classes="rs-actions"):
            self.choices = [
                gr.Button(words, interactive=False, elem_id=f"vote-{index}", min_width=120)
                for index, (words, _) in enumerate(CHOICES)
            ]
        self.ballot = gr.Textbox("", visible=False)
        self.result = gr.HTML(elem_id="vote-result")
        self.counted = gr.Dropdown(
            [ALL_SETS, *(str(one) for one in QuestionSet)], value=ALL_SETS, label="Count",
            elem_id="vote-counted",
        )  # fmt: skip
        self.table = live_table(label="Votes", file_name="votes.csv", elem_id="vote-table")


class _Handlers:
    """What the section's events do."""

    def __init__(self, engine: Engine, talk: Talk) -> None:
        self.engine = engine
        self.talk = talk
        self.stops = Stops()

    def draw(self, wanted: str, chosen: list[str]) -> str:
        if not chosen:
            raise EngineError("No adapter is chosen.", "Choose one above.")
        adapter = self.engine.adapters.get(chosen[0]).path
        return draw_question(QuestionSet(wanted), adapter, self.engine.settings)

    def answer(
        self, request: gr.Request, wanted: str, question: str, *values: Any
    ) -> Iterator[tuple]:
        """Outputs: both sides, the ballot's id, the result, and the four buttons."""
        said = self.talk.read(values)
        if not question.strip():
            raise EngineError("The question is empty.", "Write one, or draw one.")
        model = self.engine.compare.model(said.base, said.chosen)
        pair = draw_pair(model)
        asked, messages = turn("user", question), [*said.opening, Message("user", question)]
        locked = [gr.Button(interactive=False) for _ in CHOICES]
        texts: dict[str, str] = {}
        with self.stops.running(request) as stopped:
            for progress in answer_pair(model, pair, messages, said.sampling, stopped):
                texts = {name: column.text for name, column in progress.columns.items()}
                yield (*_sides(asked, texts), "", "", *locked)
            if stopped.is_set():
                return
        left, right = (
            Side(contestant(model, column, conversation.title(self.engine, column)), texts[side])
            for side, column in ((LEFT, pair.left), (RIGHT, pair.right))
        )
        kept = str(QuestionSet(wanted))
        votes = self.engine.compare.votes
        ballot = votes.add(model.shared.fingerprint, kept, question, left, right)
        open_ = [gr.Button(interactive=True) for _ in CHOICES]
        yield (*_sides(asked, texts), ballot, "<p>Which answer is better?</p>", *open_)

    def vote(
        self, choice: Choice, ballot_id: str, counted: str, base: str, chosen: list[str]
    ) -> tuple:
        """Outputs: both sides, the ballot's id, the result, the four buttons and the table.

        That an adapter was trained with another chat template is said with its name, not before.
        """
        ballot = self.engine.compare.votes.vote(ballot_id, choice)
        named = [gr.Chatbot(label=f"{side}: {name}") for side, name in _names(ballot)]
        locked = [gr.Button(interactive=False) for _ in CHOICES]
        revealed = ", ".join(
            f"{side} was <strong>{escape(n)}</strong>" for side, n in _names(ballot)
        )
        result = f'<p role="status">{revealed}.</p>{self._mismatches(ballot, base, chosen)}'
        return (*named, "", result, *locked, self._table(ballot.base, counted))

    def _mismatches(self, ballot: Ballot, base: str, chosen: list[str]) -> str:
        named = {name for _, name in _names(ballot)}
        found = self.engine.compare.check_compatibility(base, chosen).other_template.items()
        titles = ((conversation.title(self.engine, column), words) for column, words in found)
        return token_by_token.mismatches({title: w for title, w in titles if title in named})

    def count(self, counted: str, *values: Any) -> str:
        said = self.talk.read(values)
        model = self.engine.compare.model(said.base, [])
        return self._table(model.shared.fingerprint, counted)

    def _table(self, base: str, counted: str) -> str:
        prompt_set = None if counted == ALL_SETS else counted
        rows = [_row(one) for one in standings(self.engine.compare.votes.voted(base, prompt_set))]
        return table_value(STANDING_COLUMNS, rows, empty="No votes on this base yet.")


def section(engine: Engine, talk: Talk) -> None:
    """An accordion: ask, vote, see who wins and how sure that is."""
    with layout.folded("Vote blind", "vote"):
        parts = _Vote()
    does = _Handlers(engine, talk)
    problem = parts.problem
    shown = [*parts.sides, parts.ballot, parts.result, *parts.choices]
    wire([parts.draw.click], does.draw, [parts.set, talk.adapters], [parts.question],
         problem=problem)  # fmt: skip
    wire([parts.ask.click, parts.question.submit], does.answer,
         [parts.set, parts.question, *talk.inputs], shown, problem=problem)  # fmt: skip
    wire([parts.counted.input], does.count, [parts.counted, *talk.inputs], [parts.table],
         problem=problem)  # fmt: skip
    does.stops.connect(parts.stop)
    for button, (_, choice) in zip(parts.choices, CHOICES, strict=True):
        _connect_choice(does, parts, button, choice, shown, [talk.base, talk.adapters])


def _connect_choice(
    does: _Handlers, parts: _Vote, button: gr.Button, choice: Choice, shown: list, who: list
) -> None:
    def vote(ballot_id: str, counted: str, base: str, chosen: list[str]) -> tuple:
        return does.vote(choice, ballot_id, counted, base, chosen)

    wire([button.click], vote, [parts.ballot, parts.counted, *who], [*shown, parts.table],
         problem=parts.problem)  # fmt: skip


def _side(name: str) -> gr.Chatbot:
    return gr.Chatbot(
        label=name.title(), height=240, elem_id=f"vote-{name}", buttons=[], layout="bubble",
        feedback_options=None, allow_tags=False, latex_delimiters=layout.LATEX, min_width=280,
    )  # fmt: skip


def _sides(asked: conversation.Turn, texts: dict[str, str]) -> list[gr.Chatbot]:
    return [
        gr.Chatbot(value=[asked, turn("assistant", texts[name])], label=name.title())
        for name in (LEFT, RIGHT)
    ]


def _names(ballot: Ballot) -> list[tuple[str, str]]:
    return [("Left", ballot.left.contestant.name), ("Right", ballot.right.contestant.name)]


def _row(one: Standing) -> tuple:
    strength = one.strength
    chance = (
        "more votes are needed"
        if strength is None
        else f"{win_chance(strength.value):.0%} "
        f"({win_chance(strength.low):.0%} to {win_chance(strength.high):.0%})"
    )
    if strength is not None and strength.low == strength.high:
        chance = "is what the others are measured against"
    return (
        one.contestant.name, one.votes, one.wins, one.ties, one.both_bad, one.win_rate,
        f"{one.low:.0%} to {one.high:.0%}", chance,
    )  # fmt: skip
