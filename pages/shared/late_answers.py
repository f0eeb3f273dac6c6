"""Answers that come late: what of an answer is still applied when it arrives.

Gradio puts whatever arrives into its outputs, also over what the person has changed since they
asked. So an answer to `wire` carries what its fields said when it was asked for, and the browser
(`static/late_answers.js`) compares that with what they say now:

- A field among the outputs gets its new value only while it still says what it said then.
- Outputs that follow the fields (`follows=True`) are set only while all fields say what they said
  then. The change that makes an answer too old has asked anew, so the newest question is answered
  last, in whatever order answers arrive. A refusal counts as an answer, and empties them. Until
  the answer comes they are dimmed.

A page need not do anything for the first. For the second it wires its results with
`follows=True`, the fields on which they depend as inputs and their `.input` among the triggers:
one such question an event (two on one event make Gradio ask each again after the other), and
another `.then` after it.
Choices, labels and visibility are no choice of the person and are set as they come.

Knows Gradio's events; knows no handler and no page.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from pages.shared.static_files import event_js

FIELDS = (
    gr.Textbox, gr.Number, gr.Slider, gr.Dropdown, gr.Checkbox, gr.CheckboxGroup, gr.Radio,
)  # fmt: skip
RESULTS = (gr.HTML, gr.Textbox, gr.Markdown, gr.Code)  # their values are text as it stands

Update = dict[Block, Any]


@dataclass(frozen=True)
class LateAnswer:
    """How the answer to one event reaches its outputs.

    carrier: the hidden part that holds the answer; asked: the fields that are compared;
    settled: the outputs that the browser sets; group: the class of outputs that follow all fields,
    "" where they do not; redrawn: the settled ones that the server may change beyond their values,
    None for all.
    """

    carrier: gr.Textbox
    asked: Sequence[Component]
    settled: Sequence[Block]
    group: str = ""
    redrawn: Sequence[Block] | None = None

    @property
    def follows(self) -> bool:
        return bool(self.group)

    def inputs(self, inputs: Sequence[Component] | set[Component]) -> Any:
        """A handler's inputs, and what the fields say as it is asked."""
        return {*inputs, *self.asked} if isinstance(inputs, set) else [*inputs, *self.asked]

    def outputs(self, outputs: Sequence[Block]) -> list[Block]:
        """What the server sets itself, and the carrier.

        Gradio makes each output anew for the tab, also where only the browser sets it.
        """
        kept = self.settled if self.redrawn is None else self.redrawn
        others = [] if self.follows else kept
        own = [part for part in outputs if part in others or part not in self.settled]
        return [*own, self.carrier]

    def carrying(self, handler: Callable[..., Update]) -> Callable[..., Update]:
        """The handler, whose new values go into the carrier with what was asked."""

        @functools.wraps(handler)
        def carry(*given: Any) -> Update:
            if given and isinstance(given[0], dict) and self.asked and self.asked[0] in given[0]:
                said, own = [given[0][field] for field in self.asked], given
            else:
                own = given[: len(given) - len(self.asked)]
                said = list(given[len(own) :])
            return self._carried(handler(*own), said)

        setattr(carry, "__signature__", _with_more(inspect.signature(handler)))  # noqa: B010
        return carry

    def dim(self, bind: Callable[..., Any]) -> None:
        """Bind, before the question itself, that outputs are dimmed until they are answered."""
        js = event_js("shared/late_answers.js", "dim", self.group)
        bind(fn=None, js=js, api_name="page_dim", api_visibility="private")

    def settle(self, event: Any) -> Any:
        """After the event: set what is not too late. Returns the last event, for `.then`."""
        places = [self.asked.index(p) if p in self.asked else -1 for p in self.settled]
        return event.then(
            fn=None,
            inputs=[self.carrier, *self.asked],
            outputs=self.settled,
            js=event_js("shared/late_answers.js", "settle", self.group, places),
        )

    def _carried(self, update: Update, said: list[Any]) -> Update:
        direct: Update = {}
        values: dict[int, Any] = {}
        for part, change in update.items():
            if part not in self.settled:
                direct[part] = change
                continue
            rest, new = _split(change)
            if rest:
                direct[part] = {"__type__": "update", **rest}
            values |= {self.settled.index(part): value for value in new}
        return direct | {self.carrier: json.dumps({"said": said, "values": values})}


def held_back(
    inputs: Sequence[Component] | set[Component],
    outputs: Sequence[Block],
    redrawn: Sequence[Block] | None = None,
) -> LateAnswer | None:
    """What an event needs whose outputs have fields among them; None for the others."""
    fields: list[Any] = [part for part in outputs if is_field(part) or _is_edited(part, inputs)]
    return LateAnswer(_carrier(), fields, fields, redrawn=redrawn) if fields else None


def following(
    inputs: Sequence[Component] | set[Component], outputs: Sequence[Block], problem: gr.HTML
) -> LateAnswer:
    """What an event needs whose outputs follow its fields.

    Raises TypeError where a field is among the outputs (a choice would ask and be answered at
    once), or a part whose value is more than text.
    """
    for part in outputs:
        if is_field(part) or not isinstance(part, RESULTS):
            raise TypeError(f"{part.get_block_name()} {part} cannot follow the fields")
    asked = [part for part in inputs if isinstance(part, FIELDS)]
    carrier = _carrier()
    group = f"rs-follows-{carrier._id}"
    for part in outputs:
        part.elem_classes = [*part.elem_classes, group]
    return LateAnswer(carrier, asked, [*outputs, problem], group)


def is_field(part: Block) -> bool:
    """Whether a person may change it: an input component that is shown or has a label."""
    if not isinstance(part, FIELDS) or part.interactive is False:
        return False
    return part.visible is True or bool(part.label)


def emptied(outputs: Sequence[Block]) -> Update:
    """The outputs of a question that was refused."""
    return dict.fromkeys(outputs, "")


def _is_edited(part: Block, inputs: Sequence[Component] | set[Component]) -> bool:
    """Whether it is a part of ours that the person edits in the browser and gets back."""
    return isinstance(part, gr.HTML) and part in inputs


def _carrier() -> gr.Textbox:
    return gr.Textbox(visible=False, elem_classes="rs-late-answer")


def _split(change: Any) -> tuple[dict[str, Any], list[Any]]:
    """A change as properties, and the new value if it has one."""
    if isinstance(change, Block):
        change = {"__type__": "update", **change.constructor_args}
    if not (isinstance(change, dict) and change.get("__type__") == "update"):
        return {}, [change]
    rest = {name: value for name, value in change.items() if name not in ("__type__", "value")}
    return rest, [change["value"]] if "value" in change else []


def _with_more(signature: inspect.Signature) -> inspect.Signature:
    """The signature of a handler that also takes what was asked, as Gradio counts arguments."""
    parameters = list(signature.parameters.values())
    if any(item.kind is item.VAR_POSITIONAL for item in parameters):
        return signature
    more = inspect.Parameter("said", inspect.Parameter.VAR_POSITIONAL)
    positional = [p for p in parameters if p.kind <= p.POSITIONAL_OR_KEYWORD]
    return signature.replace(parameters=[*positional, more, *parameters[len(positional) :]])
