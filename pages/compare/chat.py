"""The chat: one question to all columns; ask again, take back, edit, change how one is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr
from gradio.components import Component

from lora_engine.compare.prompts import AskAs
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from pages.compare import adapter_choice, saved_session
from pages.compare.answers import AnswerFrame, ColumnFacts, answer_columns
from pages.compare.conversation import (
    Conversation,
    Histories,
    chat_message,
    up_to_last_question,
)
from pages.compare.conversation_fields import ConversationFields, Values, ask_as_field
from pages.shared.stop_button import Stops
from pages.shared.wiring import Update, problem_box, wire

SUGGESTIONS = 3
SEEDS = 2**32


@dataclass(frozen=True)
class ChatFields:
    """The components under the columns: question, suggestions, buttons, what was measured."""

    status: gr.HTML
    problem: gr.HTML
    ask_as: gr.Radio
    suggestions: Sequence[gr.Button]
    question: gr.Textbox
    send: gr.Button
    stop: gr.Button
    retry: gr.Button
    undo: gr.Button
    clear: gr.Button
    links: gr.HTML


def chat_fields() -> ChatFields:
    status = gr.HTML(elem_id="compare-status")
    problem = problem_box()
    ask_as = ask_as_field()
    with gr.Row(elem_classes="rs-suggestions"):
        suggestions = [
            gr.Button(visible=False, size="sm", elem_id=f"suggestion-{index}")
            for index in range(SUGGESTIONS)
        ]
    # Nothing can be asked before the page knows whom: its opening makes question and Ask live.
    question = gr.Textbox(
        value="",
        label="Your question",
        placeholder="Ask both the same thing",
        lines=1,
        max_lines=6,
        elem_id="prompt",
        autofocus=True,
        interactive=False,
    )
    with gr.Row(elem_classes="rs-actions"):
        send = gr.Button("Ask", variant="primary", elem_id="send", interactive=False, min_width=80)
        stop = gr.Button("Stop", variant="stop", elem_id="stop", min_width=80)
        retry = gr.Button("Retry", elem_id="retry", min_width=80)
        undo = gr.Button("Undo", elem_id="undo", min_width=80)
        clear = gr.Button("Clear", elem_id="clear", min_width=80)
    links = gr.HTML(elem_id="compare-kept")
    return ChatFields(
        status, problem, ask_as, suggestions, question, send, stop, retry, undo, clear, links
    )


class ChatHandlers:
    """What the chat's events do; each takes the values of `ConversationFields.inputs`."""

    def __init__(self, engine: Engine, fields: ConversationFields, chat: ChatFields) -> None:
        self.engine = engine
        self.fields = fields
        self.chat = chat
        self.stops = Stops()

    @property
    def outputs(self) -> list[Component]:
        """What the updates of an answer name."""
        return [self.chat.question, self.fields.sampling["seed"], *self.fields.answers]

    def ask(self, source: gr.Textbox | gr.Button) -> Callable[..., Iterator[Update]]:
        """The handler that asks the question which stands in `source`."""

        def ask(values: Values, request: gr.Request) -> Iterator[Update]:
            conversation = self.fields.read(values)
            question = values[source]
            if not question.strip():
                raise EngineError(
                    "The question is empty.", "Write one, or click one of the examples."
                )
            asked = {
                name: [*history, chat_message("user", question)]
                for name, history in conversation.histories.items()
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
            raise EngineError("The question is empty.", "Write one, or use Undo to take it back.")
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
        """The last question again for the adapter whose settings changed, if one was asked."""
        adapters, histories = conversation.adapters, conversation.histories
        if index >= len(adapters) or not histories[adapters[index]]:
            yield {}
            return
        asked = up_to_last_question(histories)
        yield from self._answer(request, conversation, asked, only=adapters[index])

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
        }
        frame = None
        try:
            with self.stops.running(request) as stop:
                for frame in answer_columns(self.engine, conversation, asked, stop, only):
                    yield {**begun, **self._shown(conversation, frame)}
                    begun = {}
        except Exception:  # whatever it was: what was answered is kept, and it is raised again
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
        histories = frame.histories(conversation.histories)
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
