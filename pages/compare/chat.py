"""The chat: one question to all columns; ask again, take back, edit, change how one is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import gradio as gr
from gradio.blocks import Block

from lora_engine.compare.prompts import AskAs
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.language import tr, translatable
from pages.compare import adapter_choice, saved_session, tools
from pages.compare.answers import AnswerFrame, ColumnFacts, answer_columns
from pages.compare.conversation import (
    Conversation,
    Histories,
    chat_message,
    is_sampled,
    up_to_last_question,
    without_sampled,
)
from pages.compare.conversation_fields import ConversationFields, Values
from pages.shared.stop_button import Stops
from pages.shared.wiring import Update, problem_box, wire

SUGGESTIONS = 3
SEEDS = 2**32
QUESTION, QUESTION_EXAMPLE = translatable("Your question"), translatable("Ask both the same thing")
BUTTONS: tuple[tuple[str, str, Literal["stop", "secondary"]], ...] = (
    ("stop", translatable("Stop"), "stop"),
    ("retry", translatable("Retry"), "secondary"),
    ("undo", translatable("Undo"), "secondary"),
    ("clear", translatable("Clear"), "secondary"),
)


@dataclass(frozen=True)
class ChatFields:
    """What was measured of the columns, and below them all that asks: the composer.

    reason: why a text is continued, where it is.
    """

    status: gr.HTML
    links: gr.HTML
    problem: gr.HTML
    reason: gr.HTML
    suggestions: Sequence[gr.Button]
    question: gr.Textbox
    send: gr.Button
    stop: gr.Button
    retry: gr.Button
    undo: gr.Button
    clear: gr.Button


def chat_fields() -> ChatFields:
    """The lines under the columns, and the composer, which stays at the foot of the window."""
    status = gr.HTML(elem_id="compare-status", js_on_load="")
    links = gr.HTML(elem_id="compare-kept", js_on_load="")
    with gr.Column(elem_id="composer"):
        problem = problem_box()
        reason = gr.HTML(elem_id="asked-reason", js_on_load="")
        with gr.Row(elem_classes="rs-suggestions"):
            suggestions = [
                gr.Button(visible=False, size="sm", elem_id=f"suggestion-{index}", min_width=0)
                for index in range(SUGGESTIONS)
            ]
        with gr.Row(elem_classes="rs-composer"):
            # Nothing can be asked before the page knows whom: its opening makes both live.
            question = gr.Textbox(
                value="",
                label=tr(QUESTION),
                show_label=False,
                container=False,
                placeholder=tr(QUESTION_EXAMPLE),
                lines=1,
                max_lines=6,
                elem_id="prompt",
                autofocus=True,
                interactive=False,
                min_width=0,
            )
            send = gr.Button(tr("Ask"), variant="primary", elem_id="send", interactive=False,
                             min_width=0)  # fmt: skip
            stop, retry, undo, clear = (
                gr.Button(tr(words), variant=variant, elem_id=name, min_width=0)
                for name, words, variant in BUTTONS
            )
    return ChatFields(
        status, links, problem, reason, suggestions, question, send, stop, retry, undo, clear
    )


class ChatHandlers:
    """What the chat's events do; each takes the values of `ConversationFields.inputs`."""

    def __init__(self, engine: Engine, fields: ConversationFields, chat: ChatFields) -> None:
        self.engine = engine
        self.fields = fields
        self.chat = chat
        self.stops = Stops()

    @property
    def outputs(self) -> list[Block]:
        """What the updates of an answer name."""
        fields = self.fields
        return [self.chat.question, fields.sampling["seed"], fields.tabs, *fields.answers]

    def ask(self, source: gr.Textbox | gr.Button) -> Callable[..., Iterator[Update]]:
        """The handler that asks the question which stands in `source`."""

        def ask(values: Values, request: gr.Request) -> Iterator[Update]:
            conversation = self.fields.read(values)
            question = values[source]
            if not question.strip():
                raise EngineError(
                    tr("The question is empty."), tr("Write one, or click one of the examples.")
                )
            asked = {
                name: [*history, chat_message("user", question)]
                for name, history in without_sampled(conversation.histories).items()
            }
            yield from self._answer(request, conversation, asked, question=question)

        return ask

    def retry(self, values: Values, request: gr.Request) -> Iterator[Update]:
        """The last question again; above temperature 0 with the next seed."""
        conversation = self.fields.read(values)
        asked = up_to_last_question(conversation.histories)
        if conversation.sampling.temperature > 0:
            conversation = conversation.with_seed((conversation.sampling.seed + 1) % SEEDS)
        yield from self._answer(request, conversation, asked)

    def edit(self, values: Values, event: gr.EditData, request: gr.Request) -> Iterator[Update]:
        """A question written anew, in all columns; what came after it is dropped."""
        conversation = self.fields.read(values)
        place = event.index[0] if isinstance(event.index, Sequence) else event.index
        question = str(event.value)
        if not question.strip():
            raise EngineError(
                tr("The question is empty."), tr("Write one, or use Undo to take it back.")
            )
        asked = {
            name: [*history[:place], chat_message("user", question)]
            for name, history in conversation.histories.items()
        }
        yield from self._answer(request, conversation, asked)

    def undo(self, values: Values) -> Update:
        """The last question back in the field, it and its answers out of the columns."""
        conversation = self.fields.read(values)
        asked = up_to_last_question(conversation.histories)
        question = next(history[-1]["content"] for history in asked.values() if history)
        before = {name: history[:-1] for name, history in asked.items()}
        return {
            self.chat.question: question,
            self.fields.status: "",
            **self._columns(conversation, before),
        }

    def adjust(
        self, index: int, request: gr.Request, conversation: Conversation
    ) -> Iterator[Update]:
        """The last question again for the adapter whose settings changed, if one was asked.

        For every column where a run noted the answers: these are not of the same making.
        """
        adapters, histories = conversation.adapters, conversation.histories
        if index >= len(adapters) or not histories[adapters[index]]:
            yield {}
            return
        asked = up_to_last_question(histories)
        is_noted = any(map(is_sampled, histories[adapters[index]]))
        only = None if is_noted else adapters[index]
        yield from self._answer(request, conversation, asked, only=only)

    def start_over(self, base: str, adapters: list[str], ask_as: AskAs, server: str) -> Update:
        """Empty columns; a server that is not connected loses its own."""
        fields = self.fields
        connected = fields.servers.find(server)
        who = adapter_choice.Asked(base, adapters, ask_as, connected)
        return {
            **adapter_choice.begin_anew(self.engine, fields, who),
            fields.server: server if connected else "",
        }

    def _answer(
        self,
        request: gr.Request,
        conversation: Conversation,
        asked: Histories,
        *,
        question: str | None = None,
        only: str | None = None,
    ) -> Iterator[Update]:
        """Stream the answers and save them, also where an error ends them half-way.

        An error before the first word leaves the columns as they were and gives a new `question`
        back to its field.
        """
        # Emptied once, so that the next question can be typed while this one is answered.
        begun: Update = {} if question is None else {self.chat.question: ""}
        begun |= {
            self.fields.sampling["seed"]: conversation.sampling.seed,
            self.fields.session: str(conversation.session or ""),
            self.fields.links: saved_session.links_html(conversation.session),
            **tools.shown(self.fields.tabs, tools.ANSWERS),
        }
        frame = None
        try:
            with self.stops.running(request) as stop:
                for frame in answer_columns(self.engine, conversation, asked, stop, only):
                    yield {**begun, **self._shown(conversation, frame)}
                    begun = {}
        except Exception:
            # Of any kind, for none may cost what was answered; it is raised again. A `finally`
            # could not do this: it also runs as a closed tab ends the handler, which then may not
            # yield.
            if frame is not None and frame.facts is not None:
                yield self._save(conversation, frame, frame.facts)
            elif frame is not None:
                given_back: Update = {} if question is None else {self.chat.question: question}
                before = self._columns(conversation, conversation.histories)
                yield {**given_back, self.fields.status: "", **before}
            raise
        if frame is not None and frame.facts is not None:
            yield self._save(conversation, frame, frame.facts)

    def _shown(self, conversation: Conversation, frame: AnswerFrame) -> Update:
        status: Update = {} if frame.status is None else {self.fields.status: frame.status}
        return {**status, **self._columns(conversation, frame.columns)}

    def _columns(self, conversation: Conversation, values: Mapping[str, Any]) -> Update:
        """The value of each chatbot, from values by the column's name."""
        boxes = self.fields.columns_of(conversation.adapters, conversation.server is not None)
        return {boxes[name]: value for name, value in values.items()}

    def _save(self, conversation: Conversation, frame: AnswerFrame, facts: ColumnFacts) -> Update:
        histories = frame.histories(without_sampled(conversation.histories))
        session = saved_session.make_session(conversation, facts, histories)
        saved = self.engine.compare.sessions.save(session, conversation.session)
        return {
            self.fields.session: str(saved),
            self.fields.links: saved_session.links_html(saved, conversation.session)
            + saved_session.next_steps_html(conversation.adapters, facts.titles),
        }


def connect(engine: Engine, fields: ConversationFields, chat: ChatFields) -> ChatHandlers:
    """Bind the buttons, the columns' edit marks, the strengths and the layers."""
    handlers = ChatHandlers(engine, fields, chat)
    inputs, outputs = fields.inputs, handlers.outputs
    bind = partial(wire, problem=chat.problem, concurrency_limit=4)
    asked = [chat.send.click, chat.question.submit]
    bind(asked, handlers.ask(chat.question), {chat.question, *inputs}, outputs)
    for button in chat.suggestions:
        bind([button.click], handlers.ask(button), {button, *inputs}, outputs)
    bind([chat.retry.click], handlers.retry, inputs, outputs)
    wire([chat.undo.click], handlers.undo, inputs, outputs, problem=chat.problem)
    bind([column.edit for column in fields.columns], handlers.edit, inputs, outputs)
    for index, settings in enumerate(fields.settings):
        changes = [settings.strength.input, settings.layers_off.submit]
        adjust = _adjusting(handlers, index)
        bind(changes, adjust, inputs, outputs, trigger_mode="always_last")
    handlers.stops.connect(chat.stop)
    clears = [chat.clear.click, *(column.clear for column in fields.columns)]
    wire(
        clears,
        handlers.start_over,
        [fields.base, fields.adapters, fields.ask_as, fields.server],
        [*fields.answers, fields.server],
        problem=chat.problem,
    )
    return handlers


def _adjusting(handlers: ChatHandlers, index: int) -> Callable[..., Iterator[Update]]:
    """An adapter's strength and layers: its column answers anew when one is changed."""

    def adjust(values: Values, request: gr.Request) -> Iterator[Update]:
        yield from handlers.adjust(index, request, handlers.fields.read(values))

    return adjust
