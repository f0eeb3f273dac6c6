"""The chat: one question to all columns; ask again, take back, edit, change how one is used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from pages import compare_choice, compare_keep, compare_routes
from pages.compare_answers import answer_columns
from pages.compare_talk import Said, Talk, Turn, asked_last, turn
from pages.stopping import Stops
from pages.wiring import problem_box, wire

SUGGESTIONS = 3
SEEDS = 2**32


class Chat:
    """The components under the columns: question, suggestions, buttons, what was measured."""

    def __init__(self) -> None:
        self.status = gr.HTML(elem_id="compare-status", head=compare_routes.head())
        self.problem = problem_box()
        with gr.Row(elem_classes="rs-suggestions"):
            self.suggestions = [
                gr.Button(visible=False, size="sm", elem_id=f"suggestion-{index}")
                for index in range(SUGGESTIONS)
            ]
        self.prompt = gr.Textbox(
            value="", label="Your question", placeholder="Ask both the same thing", lines=1,
            max_lines=6, elem_id="prompt", autofocus=True, interactive=False,
        )  # fmt: skip
        with gr.Row(elem_classes="rs-actions"):
            # Nothing can be asked before the page knows whom: its opening makes these two live.
            self.send = gr.Button(
                "Ask", variant="primary", elem_id="send", interactive=False, min_width=80
            )
            self.stop = gr.Button("Stop", variant="stop", elem_id="stop", min_width=80)
            self.retry = gr.Button("Retry", elem_id="retry", min_width=80)
            self.undo = gr.Button("Undo", elem_id="undo", min_width=80)
            self.clear = gr.Button("Clear", elem_id="clear", min_width=80)
        self.kept = gr.HTML(elem_id="compare-kept")


class Handlers:
    """What the chat's events do; each takes the values of `Talk.inputs` last.

    shown: the components that what they yield is for.
    """

    def __init__(self, engine: Engine, talk: Talk, chat: Chat) -> None:
        self.engine = engine
        self.talk = talk
        self.stops = Stops()
        self.sessions = compare_keep.store_of(engine)
        above = [chat.prompt, talk.seed, chat.status, talk.session, chat.kept]
        self.shown = [*above, *talk.columns]

    def ask(self, request: gr.Request, text: str, *values: Any) -> Iterator[tuple]:
        said = self.talk.read(values)
        if not text.strip():
            raise EngineError("The question is empty.", "Write one, or click one of the examples.")
        asking = [[*history, turn("user", text)] for history in said.histories]
        yield from self._answered(request, said, asking)

    def retry(self, request: gr.Request, *values: Any) -> Iterator[tuple]:
        """The last question again; above temperature 0 with the next seed."""
        said = self.talk.read(values)
        asking = asked_last(said.histories)
        if said.sampling.temperature > 0:
            seed = (said.sampling.seed + 1) % SEEDS
            said = _with_seed(said, seed)
        yield from self._answered(request, said, asking)

    def edit(self, event: gr.EditData, request: gr.Request, *values: Any) -> Iterator[tuple]:
        """A question written anew, in all columns; what came after it is dropped."""
        said = self.talk.read(values)
        place = event.index[0] if isinstance(event.index, Sequence) else event.index
        text = str(event.value)
        if not text.strip():
            raise EngineError("The question is empty.", "Write one, or use Undo to take it back.")
        asking = [[*history[:place], turn("user", text)] for history in said.histories]
        yield from self._answered(request, said, asking)

    def undo(self, *values: Any) -> tuple:
        """The last question back in the field, it and its answers out of the columns."""
        histories = asked_last(self.talk.read(values).histories)
        text = next(history[-1]["content"] for history in histories if history)
        emptied = [history[:-1] for history in histories]
        return (text, gr.skip(), "", gr.skip(), gr.skip(), *emptied)

    def adjust(self, index: int, request: gr.Request, said: Said) -> Iterator[tuple]:
        """The last question again for the adapter that is used otherwise now, if one was asked."""
        if index >= len(said.chosen) or not said.histories[index + 1]:
            yield gr.skip()
            return
        asking = asked_last(said.histories)
        yield from self._answered(request, said, asking, only=said.chosen[index])

    def start_over(self, chosen: list[str], server: str) -> tuple:
        """Empty columns; a server that is not connected loses its own."""
        other = self.talk.servers.find(server)
        columns = compare_choice.titled(self.engine, chosen, other)
        return ("", server if other else "", "", "", *columns)

    def _answered(
        self, request: gr.Request, said: Said, asking: list[list[Turn]], only: str | None = None
    ) -> Iterator[tuple]:
        before = said.session
        kept = (str(before or ""), compare_keep.links(before))
        with self.stops.running(request) as stopped:
            for step in answer_columns(self.engine, said, asking, stopped.is_set, only):
                prompt = gr.skip() if only else ""
                yield (prompt, said.sampling.seed, step.status, *kept, *step.columns)
        histories = step.histories(said.histories)
        session = compare_keep.session_of(self.engine, said, step.model, histories)
        saved = self.sessions.save(session, before)
        kept = (str(saved), compare_keep.links(saved, before))
        yield (gr.skip(), gr.skip(), gr.skip(), *kept, *[gr.skip()] * len(step.columns))


def connect(engine: Engine, talk: Talk, chat: Chat) -> Handlers:
    """Bind the buttons, the columns' edit marks, the strengths and the layers."""
    does = Handlers(engine, talk, chat)
    shown = does.shown
    options = {"problem": chat.problem, "concurrency_limit": 4}
    wire([chat.send.click, chat.prompt.submit], does.ask, [chat.prompt, *talk.inputs], shown,
         **options)  # fmt: skip
    for button in chat.suggestions:
        wire([button.click], does.ask, [button, *talk.inputs], shown, **options)
    wire([chat.retry.click], does.retry, talk.inputs, shown, **options)
    wire([chat.undo.click], does.undo, talk.inputs, shown, problem=chat.problem)
    wire([column.edit for column in talk.columns], does.edit, talk.inputs, shown, **options)
    for index in range(len(talk.strengths)):
        _connect_use(does, index, options)
    does.stops.connect(chat.stop)
    emptied = [chat.status, talk.server, talk.session, chat.kept, *talk.columns]
    clears = [chat.clear.click, *(column.clear for column in talk.columns)]
    wire(clears, does.start_over, [talk.adapters, talk.server], emptied, problem=chat.problem)
    return does


def _connect_use(does: Handlers, index: int, options: dict[str, Any]) -> None:
    """An adapter's strength and layers: its column answers anew when one is changed."""
    talk = does.talk

    def adjust(request: gr.Request, *values: Any) -> Iterator[tuple]:
        yield from does.adjust(index, request, talk.read(values))

    changes = [talk.strengths[index].input, talk.layers_off[index].submit]
    wire(changes, adjust, talk.inputs, does.shown, trigger_mode="always_last", **options)


def _with_seed(said: Said, seed: int) -> Said:
    return replace(said, sampling=said.sampling.model_copy(update={"seed": seed}))
