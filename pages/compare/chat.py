"""The chat: one question to all columns; ask again, take back, edit, change how one is used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from pages.compare import adapter_choice, kept_comparison, routes
from pages.compare.answers import Step, answer_columns
from pages.compare.conversation import Said, Talk, Turn, asked_last, turn
from pages.shared.stop_button import Stops
from pages.shared.wiring import problem_box, wire

SUGGESTIONS = 3
SEEDS = 2**32


class Chat:
    """The components under the columns: question, suggestions, buttons, what was measured."""

    def __init__(self) -> None:
        self.status = gr.HTML(elem_id="compare-status", head=routes.head())
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
        self.sessions = kept_comparison.store_of(engine)
        above = [chat.prompt, talk.seed, chat.status, talk.session, chat.kept]
        self.shown = [*above, *talk.columns]

    def ask(self, request: gr.Request, text: str, *values: Any) -> Iterator[tuple]:
        said = self.talk.read(values)
        if not text.strip():
            raise EngineError("The question is empty.", "Write one, or click one of the examples.")
        asking = [[*history, turn("user", text)] for history in said.histories]
        yield from self._answered(request, said, asking, question=text)

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

    def start_over(self, base: str, chosen: list[str], server: str) -> tuple:
        """Empty columns; a server that is not connected loses its own."""
        other = self.talk.servers.find(server)
        status, columns = adapter_choice.begun(self.engine, base, chosen, other)
        return (status, server if other else "", "", "", *columns)

    def _answered(
        self,
        request: gr.Request,
        said: Said,
        asking: list[list[Turn]],
        *,
        question: str | None = None,
        only: str | None = None,
    ) -> Iterator[tuple]:
        """Stream the answers and keep them, also where an error ends them half-way.

        An error before the first word leaves the columns as they were and gives a new `question`
        back to its field.
        """
        # Emptied once, so that the next question can be typed while this one is answered.
        above = (gr.skip() if question is None else "", said.sampling.seed)
        kept = (str(said.session or ""), kept_comparison.links(said.session))
        step = None
        try:
            with self.stops.running(request) as stopped:
                for step in answer_columns(self.engine, said, asking, stopped, only):
                    yield (*above, step.status, *kept, *step.columns)
                    above = (gr.skip(), gr.skip())
        except Exception:
            if step is not None and step.answering is not None:
                yield self._kept(said, step)
            elif step is not None:
                given_back = gr.skip() if question is None else question
                yield (given_back, gr.skip(), "", *kept, *said.histories)
            raise
        yield self._kept(said, step)

    def _kept(self, said: Said, step: Step) -> tuple:
        session = kept_comparison.session_of(said, step.answering, step.histories(said.histories))
        saved = self.sessions.save(session, said.session)
        kept = (str(saved), kept_comparison.links(saved, said.session))
        return (gr.skip(), gr.skip(), gr.skip(), *kept, *[gr.skip()] * len(step.columns))


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
    wire(clears, does.start_over, [talk.base, talk.adapters, talk.server], emptied,
         problem=chat.problem)  # fmt: skip
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
