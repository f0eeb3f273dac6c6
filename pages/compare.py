"""The compare page: the base and the adapted model answer the same question, side by side.

All columns come from one loaded base and one batch. What was said stands in the columns
themselves, so each tab has its own conversation and nothing is kept on the server.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

import gradio as gr

from lora_engine.adapters.library import AdapterSummary
from lora_engine.base_models import STARTER
from lora_engine.compare.integrity import integrity
from lora_engine.compare.model import BASE_COLUMN, ColumnProgress, Progress
from lora_engine.compare.sampling import Sampling
from lora_engine.compare.suggestions import suggested_prompts
from lora_engine.data import Message
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from pages import COMPARE, TRAIN, compare_detail, compare_set, compare_talk, forms, layout
from pages.wiring import expose, problem_box, wire

MAX_ADAPTERS = 3
COLUMNS = MAX_ADAPTERS + 1
SUGGESTIONS = 3

HELP = r"""
One base model is in memory. An adapter adds $\Delta W\,x = \tfrac{\alpha}{r} B A\,x$ to the output
of the layers it was trained on, for the rows of its own column alone, so all columns are answered
in one batch and adding an adapter costs megabytes, not another model.

At temperature 0 the likeliest token is always taken: the same question gives the same answer, and
what differs between the columns is the adapter alone. Above 0 all columns draw with the same
random numbers, fixed by the seed.
"""


def build(engine: Engine) -> gr.Blocks:
    with layout.shell(COMPARE) as blocks:
        note = gr.HTML(elem_id="compare-note")
        with gr.Row():
            adapters = gr.Dropdown(
                _adapter_choices(engine), multiselect=True, max_choices=MAX_ADAPTERS,
                label="Adapters", info="Up to three, each in a column beside the base.",
                elem_id="adapters", scale=2,
            )  # fmt: skip
            base = gr.Dropdown(
                engine.base_model_names(), value=STARTER, allow_custom_value=True,
                label="Base model", info="Must be the one the adapters were trained on.",
                elem_id="base-model", scale=1,
            )  # fmt: skip
        with gr.Row(elem_classes="rs-columns"):
            columns = [
                gr.Chatbot(
                    label=BASE_COLUMN,
                    visible=index < 2,
                    height=380,
                    elem_id=f"column-{index}",
                    buttons=["copy"],
                    feedback_options=None,
                    layout="bubble",
                    allow_tags=False,
                    latex_delimiters=layout.LATEX,
                    min_width=280,
                )  # fmt: skip
                for index in range(COLUMNS)
            ]
        status = gr.HTML(elem_id="compare-status")
        problem = problem_box()
        with gr.Row(elem_classes="rs-suggestions"):
            suggestions = [
                gr.Button(visible=False, size="sm", elem_id=f"suggestion-{index}")
                for index in range(SUGGESTIONS)
            ]
        prompt = gr.Textbox(
            value="", label="Your question", placeholder="Ask both the same thing", lines=1,
            max_lines=6, elem_id="prompt", autofocus=True, interactive=False,
        )  # fmt: skip
        with gr.Row(elem_classes="rs-actions"):
            # Nothing can be asked before the page knows whom: open_page makes these two live.
            send = gr.Button("Ask", variant="primary", elem_id="send", interactive=False)
            stop = gr.Button("Stop", variant="stop", elem_id="stop")
            clear = gr.Button("Clear", elem_id="clear")
        with gr.Accordion("Sampling and system prompt", open=False):
            system = gr.Textbox("", label="System prompt", lines=2, elem_id="system-prompt")
            with gr.Row():
                sampling = forms.number_fields(Sampling)
        talk = compare_talk.Talk(adapters, base, system, columns)
        compare_talk.detail_section(engine, talk)
        compare_set.section(engine, talk, sampling)
        layout.how_this_works(HELP)

        def open_page(request: gr.Request) -> tuple:
            wanted = layout.state_of(request, "adapter")
            names = wanted.split(",")[:MAX_ADAPTERS] if wanted else []
            found = [engine.adapter(name) for name in names] or engine.adapters()[:1]
            chosen = [_key(adapter) for adapter in found]
            base_name = layout.state_of(request, "base") or _base_of(engine, chosen)
            return (
                gr.Dropdown(choices=_adapter_choices(engine), value=chosen),
                gr.Dropdown(choices=engine.base_model_names(), value=base_name),
                _note(engine),
                gr.Textbox(interactive=True),
                gr.Button(interactive=True),
                *_suggestion_buttons(engine, chosen),
                *_titled(engine, chosen),
            )

        def choose(chosen: list[str]) -> tuple:
            return (
                _base_of(engine, chosen),
                *_suggestion_buttons(engine, chosen),
                *_titled(engine, chosen),
            )

        def ask(text: str, chosen: list[str], base_name: str, system_text: str, *rest: Any):
            values, histories = rest[: len(sampling)], rest[len(sampling) :]
            wanted = forms.numbers_read(Sampling, values)
            yield from _answers(engine, text, chosen, base_name, system_text, wanted, histories)

        def start_over(chosen: list[str]) -> tuple:
            return ("", *_titled(engine, chosen))

        asked = [prompt, adapters, base, system, *sampling, *columns]
        shown = [prompt, status, *columns]
        options = {"problem": problem, "concurrency_limit": 4}
        events = [wire([send.click, prompt.submit], ask, asked, shown, **options)]
        for button in suggestions:
            events.append(wire([button.click], ask, [button, *asked[1:]], shown, **options))
        stop.click(fn=None, cancels=events, api_visibility="private")
        wire([clear.click], start_over, [adapters], [status, *columns], problem=problem)
        wire([adapters.input], choose, [adapters], [base, *suggestions, *columns], problem=problem)
        wire(
            [blocks.load],
            open_page,
            [],
            [adapters, base, note, prompt, send, *suggestions, *columns],
            problem=problem,
        )
        adapters.input(
            fn=None, inputs=[adapters], js=layout.remember_js("adapter"), api_visibility="private"
        )
        expose(_compare_endpoint(engine), api_name="compare")
    return blocks


def _answers(
    engine: Engine,
    text: str,
    chosen: Sequence[str],
    base_name: str,
    system_text: str,
    sampling: Sampling,
    histories: Sequence[list],
) -> Iterator[tuple]:
    """The page as the answers grow: the emptied prompt, the status, every column."""
    if not text.strip():
        raise EngineError("The question is empty.", "Write one, or click one of the examples.")
    turns = [compare_talk.turns(history) for history in histories]
    asking = [[*history, compare_talk.turn("user", text)] for history in turns]
    names = [BASE_COLUMN, *chosen]
    waiting = [*asking[: len(names)], *[gr.skip()] * (COLUMNS - len(names))]
    yield ("", "Loading the model…", *waiting)

    model = engine.comparison(base_name, chosen)
    opening = [Message("system", system_text)] if system_text.strip() else []
    conversations = {
        name: [*opening, *(Message(turn["role"], turn["content"]) for turn in history)]
        for name, history in zip(names, asking, strict=False)
    }
    warnings = "".join(f"<p>{escape(warning)}</p>" for warning in model.warnings())
    for progress in model.answer(conversations, sampling):
        columns = [
            [*history, compare_talk.turn("assistant", progress.columns[name].text)]
            for name, history in zip(names, asking, strict=False)
        ]
        rest = [gr.skip()] * (COLUMNS - len(names))
        said = _status(engine, progress) + warnings
        yield ("", said, *columns, *rest)
    proof = integrity(model, conversations[BASE_COLUMN])
    shown = compare_detail.badge(proof, lambda name: compare_talk.title(engine, name))
    yield ("", said + shown, *columns, *rest)


def _status(engine: Engine, progress: Progress) -> str:
    """One line a column: tokens, speed, and why it ended."""
    lines = [
        f"<li><strong>{escape(compare_talk.title(engine, name))}</strong> "
        f"{_column_status(column)}</li>"
        for name, column in progress.columns.items()
    ]
    return f'<ul class="rs-status">{"".join(lines)}</ul>'


def _column_status(column: ColumnProgress) -> str:
    words = f"{column.tokens} tokens"
    if column.tokens_per_s:
        words += f", {layout.number(column.tokens_per_s)} a second"
    if column.first_token_s is not None:
        words += f", the first after {layout.duration(column.first_token_s)}"
    ending = {"token limit": ", cut at the token limit", "context full": ", the context is full"}
    return words + ending.get(column.finished or "", "")


def _key(adapter: AdapterSummary) -> str:
    """What an adapter is called in the address and in the choices."""
    return adapter.run_id or str(adapter.path)


def _base_of(engine: Engine, chosen: Sequence[str]) -> str:
    """The base that the first adapter was trained on."""
    base = engine.adapter(chosen[0]).base_model if chosen else None
    return base or STARTER


def _titled(engine: Engine, chosen: Sequence[str]) -> list[gr.Chatbot]:
    """Every column emptied, named and shown or hidden."""
    titles = [compare_talk.title(engine, name) for name in (BASE_COLUMN, *chosen)]
    shown = [gr.Chatbot(value=[], label=title, visible=True) for title in titles]
    return [*shown, *(gr.Chatbot(value=[], visible=False) for _ in range(COLUMNS - len(shown)))]


def _adapter_choices(engine: Engine) -> list[tuple[str, str]]:
    return [
        (f"{adapter.name} (rank {adapter.rank}, {adapter.base_model})", _key(adapter))
        for adapter in engine.adapters()
    ]


def _note(engine: Engine) -> str:
    if engine.adapters():
        return ""
    return layout.empty_state_html(
        "No adapter yet",
        "The base answers alone until one is trained. The pirate example takes about a minute.",
        "Train the example",
        TRAIN.path,
    )


def _suggestion_buttons(engine: Engine, chosen: Sequence[str]) -> list[gr.Button]:
    prompts = suggested_prompts([engine.adapter(name).path for name in chosen])
    return [gr.Button(prompt, visible=True) for prompt in prompts[:SUGGESTIONS]]


def _compare_endpoint(engine: Engine):
    def compare(
        prompt: str, adapters: list[str], base: str = STARTER, max_new_tokens: int = 64,
        seed: int = 0,
    ) -> dict:  # fmt: skip
        """The base's and each adapter's answer to one prompt."""
        sampling = Sampling(max_new_tokens=max_new_tokens, seed=seed)
        return engine.compare(base, adapters, [prompt], sampling).as_json()

    return compare
