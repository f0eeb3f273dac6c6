"""The error boundary: how a handler is bound to a page, and what a person sees when it fails.

`wire` binds a handler to events and shows an EngineError in a box on the page, with each wrong
field marked; anything else is a bug, logged whole and shown as such. `expose` does the same for
a named API endpoint, where the caller gets the error. Both speak the language of the dashboard that
they were bound in, and act for the person whose request it is. This module knows nothing of what
the handlers do.
"""

from __future__ import annotations

import functools
import inspect
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from logging.handlers import RotatingFileHandler
from typing import Any, Literal, TypedDict, Unpack

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component
from gradio.context import LocalContext

from lora_engine.access import LOCAL, Person, acting_as, person_now
from lora_engine.errors import EngineError, InvalidInput
from lora_engine.language import language, speaking, tr
from pages.shared import late_answers
from pages.shared.asking import PERSON_IN_SCOPE
from pages.shared.late_answers import LateAnswer
from pages.shared.static_files import call_js

logger = logging.getLogger("rankscope.pages")

Handler = Callable[..., Any]
Update = dict[Block, Any]  # what a handler changes: outputs by component


def field_id(path: str) -> str:
    """The element id of the field for a path of the spec: 'method.rank' -> 'field-method-rank'."""
    return "field-" + path.replace(".", "-").replace("_", "-")


def problem_box() -> gr.HTML:
    """An empty box for what went wrong; put it next to what the person just used.

    Its value is made by `problem_value`. Give each cause its own: a timer that succeeds empties
    its box.
    """
    return gr.HTML(
        value="",
        html_template='<div class="rs-problem" role="alert" hidden></div>',
        js_on_load=call_js("shared/problem.js", "problem"),
        elem_classes="rs-problem-holder",
        apply_default_css=False,
    )


def problem_value(error: Exception) -> str:
    """What a problem box shows for an error: JSON of problem, remedy and the fields by id."""
    if isinstance(error, InvalidInput):
        fields = [
            {"id": field_id(item.path), "path": item.path, "message": item.message}
            for item in error.problems
        ]
        document = {"problem": "", "remedy": error.remedy, "fields": fields}
    elif isinstance(error, EngineError):
        document = {"problem": error.problem, "remedy": error.remedy, "fields": []}
    else:
        document = {
            "problem": tr("Something went wrong in the dashboard itself."),
            "remedy": tr("What happened is written down in {place}.", place=log_location()),
            "fields": [],
        }
    return json.dumps(document)


class EventOptions(TypedDict, total=False):
    """Gradio's options of an event. Here trigger_mode is "once" and show_progress "hidden" where
    they are not given."""

    trigger_mode: Literal["once", "multiple", "always_last"]
    queue: bool
    show_progress: Literal["full", "minimal", "hidden"]
    concurrency_limit: int | None | Literal["default"]
    js: str | None


def wire(
    triggers: Callable | Sequence[Callable] | functools.partial,
    handler: Handler,
    inputs: Sequence[Component] | set[Component] = (),
    outputs: Sequence[Block] = (),
    *,
    problem: gr.HTML,
    keeps_problem: bool = False,
    follows: bool = False,
    empties: Sequence[Block] = (),
    redraws: Sequence[Block] | None = None,
    **options: Unpack[EventOptions],
) -> Any:
    """Bind a handler to events, as in `wire([start.click], submit, [name], [table], ...)`, or to
    the end of another event, as in `wire(started.then, show, ...)`.

    The handler returns what it changes by component, `{table: rows, note: ""}`; what it does not
    name stays, and `gr.skip()` leaves all as they are. One with a single output may return its
    value alone. A generator streams. `inputs` as a set gives the handler one dict, by component.
    On an error the outputs stay, but those in `empties`, and `problem` shows it. Success empties
    it, except that of a page's opening, whose answer may come after the person has already typed
    something wrong, and of what else happens of itself (keeps_problem). Sliders want
    trigger_mode="always_last", timers queue=False.

    The person's last choice wins over an answer that comes late (`pages.shared.late_answers`): a
    field among the outputs that was changed meanwhile stays as it is. `follows=True` says that the
    outputs are what follows from the inputs: an answer to what the fields no longer say is
    dropped, and an error empties them. A generator's values are set as they come.
    redraws: the fields among the outputs of which the handler changes more than the value, choices
    or visibility; the values of the others then never pass through Gradio's state of the tab,
    which costs a form of many fields most of its time. None: any field.
    Returns Gradio's last event, for `.then`. Raises TypeError where `follows` cannot hold.
    """
    bind, is_opening = _binding(triggers)
    late = _late_answer(handler, inputs, outputs, problem, follows, redraws)
    success = gr.skip() if keeps_problem or is_opening else ""
    bounded = _bounded(handler, outputs, problem, success, outputs if follows else empties)
    if late and follows:
        late.dim(bind)
    settings = {
        "trigger_mode": "always_last" if follows else "once",
        "show_progress": "hidden",
        **options,
    }
    if settings["show_progress"] == "hidden":
        settings["show_progress_on"] = _told_of_progress(outputs, problem)
    event = bind(
        fn=late.carrying(bounded) if late else bounded,
        inputs=late.inputs(inputs) if late else _plain(inputs),
        outputs=late.outputs([*outputs, problem]) if late else [*outputs, problem],
        api_name=f"page_{handler.__name__.strip('_')}",
        api_visibility="private",
        **settings,
    )
    return late.settle(event) if late else event


def expose(function: Callable, api_name: str) -> None:
    """Offer a typed function as the named endpoint `/api_name` for gradio_client.

    Call it inside a page's Blocks. The function's type hints and docstring describe it; an
    EngineError reaches the caller as its text. A `path` in the answer is sent as `folder`:
    gradio_client would take a document with a path for a file, and fail to download it.
    """

    spoken = language()

    @functools.wraps(function)
    def endpoint(*args: Any, **kwargs: Any) -> Any:
        with speaking(spoken), acting_as(_asking()):
            try:
                return _without_paths(function(*args, **kwargs))
            except EngineError as error:
                raise gr.Error(str(error), print_exception=False) from None

    gr.api(endpoint, api_name=api_name)


def _asking() -> Person:
    """Whose request Gradio calls a handler for: as the login in front of it has written there.

    Gradio's queue works in the context of whoever asked first, so the present person says nothing.
    Called without a request (in Python), a handler acts for whoever calls it.
    """
    request = LocalContext.request.get(None)
    if request is None or request.request is None:
        return person_now()
    return request.request.scope.get(PERSON_IN_SCOPE, LOCAL)


def _without_paths(answer: Any) -> Any:
    """The answer with `folder` for every key `path` (see `expose`)."""
    if isinstance(answer, dict):
        return {
            "folder" if key == "path" else key: _without_paths(value)
            for key, value in answer.items()
        }
    return [_without_paths(one) for one in answer] if isinstance(answer, list) else answer


def log_location() -> str:
    """Where the log is written: the rotating file that app.py sets up, else standard error."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, RotatingFileHandler):
            return handler.baseFilename
    return tr("the terminal that runs the dashboard")


def _late_answer(
    handler: Handler,
    inputs: Sequence[Component] | set[Component],
    outputs: Sequence[Block],
    problem: gr.HTML,
    follows: bool,
    redraws: Sequence[Block] | None,
) -> LateAnswer | None:
    """What keeps a late answer from undoing a choice; None where it cannot."""
    streams = inspect.isgeneratorfunction(handler)
    if follows:
        if streams:
            raise TypeError(f"{handler.__qualname__} streams, so its outputs cannot follow fields")
        return late_answers.following(inputs, outputs, problem)
    return None if streams else late_answers.held_back(inputs, outputs, redraws)


def _binding(triggers: Any) -> tuple[Callable[..., Any], bool]:
    """What binds an event to its triggers, and whether they are a page's opening alone."""
    if isinstance(triggers, functools.partial):
        return triggers, False
    several = list(triggers) if isinstance(triggers, Sequence) else [triggers]
    opens = all(getattr(trigger, "event_name", "") == "load" for trigger in several)
    return functools.partial(gr.on, several), opens


def _told_of_progress(outputs: Sequence[Block], problem: gr.HTML) -> list[Block]:
    """Which parts Gradio tells of an event's progress where it is not shown.

    Gradio's client tells every part that it ever told, each time any event begins or ends. A chat
    alone needs it: it shows that its answer is awaited.
    """
    return [part for part in outputs if isinstance(part, gr.Chatbot)] or [problem]


def _plain(inputs: Sequence[Component] | set[Component]) -> Any:
    return inputs if isinstance(inputs, set) else list(inputs)


def _bounded(
    handler: Handler,
    outputs: Sequence[Block],
    problem: gr.HTML,
    success: Any,
    empties: Sequence[Block],
) -> Handler:
    """`handler`, whose answer names its outputs and the problem box: `success`, or the error.

    empties: the outputs that an error empties; the others stay.
    """
    gone = late_answers.emptied(empties)
    spoken = language()  # that of the dashboard that is built
    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def stream(*args: Any, **kwargs: Any) -> Iterator[Update]:
            shown: Update = {}
            try:
                for result in _each_speaking(spoken, handler(*args, **kwargs)):
                    named = _named(result, outputs)
                    shown |= {part: value for part, value in named.items() if _only_shows(value)}
                    yield {**shown, **named, problem: success}
            except Exception as error:  # noqa: BLE001 - the boundary: logged and shown
                with speaking(spoken):
                    failed = _shown(error, handler)
                yield {**shown, **gone, problem: failed}

        return stream

    @functools.wraps(handler)
    def call(*args: Any, **kwargs: Any) -> Update:
        with speaking(spoken), acting_as(_asking()):
            try:
                return {**_named(handler(*args, **kwargs), outputs), problem: success}
            except Exception as error:  # noqa: BLE001 - the boundary: logged and shown
                return {**gone, problem: _shown(error, handler)}

    return call


def _each_speaking(spoken: str, results: Iterator[Any]) -> Iterator[Any]:
    """What a generator yields, each made in this language: Gradio may run every step in another
    thread. Closed before its end, it closes the generator in this language too. All of it is done
    for the person who asked."""
    person = _asking()
    try:
        while True:
            with speaking(spoken), acting_as(person):
                try:
                    result = next(results)
                except StopIteration:
                    return
            yield result
    finally:
        with speaking(spoken), acting_as(person):
            results.close()  # type: ignore[attr-defined]  # a generator's


def _only_shows(value: Any) -> bool:
    """Whether it shows or hides a part and does nothing else.

    Such an update is sent again with the later ones of its stream: Gradio's client applies what
    differs to the update before, in place, so that one that follows quickly takes back what the
    page has not drawn yet.
    """
    return isinstance(value, Block) and value.constructor_args.keys() == {"visible"}


def _named(result: Any, outputs: Sequence[Block]) -> Update:
    """A handler's answer as outputs by component."""
    if not outputs or result == gr.skip():
        return {}
    if isinstance(result, dict) and all(isinstance(key, Block) for key in result):
        return result
    if len(outputs) == 1:
        return {outputs[0]: result}
    raise TypeError(f"a handler names its {len(outputs)} outputs; it returned {type(result)}")


def _shown(error: Exception, handler: Handler) -> str:
    """What the problem box shows. An error of Gradio's own goes on to Gradio."""
    if isinstance(error, gr.Error):
        raise error
    if not isinstance(error, EngineError):
        logger.error("%s failed", handler.__qualname__, exc_info=error)
    return problem_value(error)
