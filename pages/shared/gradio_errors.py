"""What Gradio itself would say where an event fails before or after its handler, in our words.

A page that is older than its server, or whoever writes to it by hand, may send what a field does
not take: a choice that is gone, a number out of bounds, a text for a number, a file of another
kind, too few fields. Gradio answers with its own sentences, some with names of its classes. Here
the person reads which field it was and what to do, in the dashboard's language; what Gradio said is
logged. Overrides parts of Gradio 6.31 (`blocks.py`). A handler's own errors are `wiring`'s.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import gradio as gr
from gradio.exceptions import InvalidPathError

from lora_engine.language import speaking, tr
from pages.shared.wiring import log_location

logger = logging.getLogger("rankscope.pages")
CHECKING = (gr.Dropdown, gr.Radio, gr.CheckboxGroup, gr.Number, gr.Slider)
"""The fields that compare what they get with what they allow."""
SHOWN = 60


def say_errors(dashboard: gr.Blocks, language: str) -> None:
    """Give a mounted dashboard these words. Before it serves."""
    read, process = dashboard.preprocess_data, dashboard.process_api

    async def preprocess_data(
        block_fn: Any, inputs: list[Any], state: Any, explicit_call: bool = False
    ) -> Any:
        given = list(inputs)
        try:
            return await read(block_fn, inputs, state, explicit_call)
        except Exception as error:
            logger.warning("what a page sent was refused: %s", str(error)[:500])
            with speaking(language):
                if isinstance(error, InvalidPathError):
                    raise _not_uploaded() from error
                raise _refused(block_fn.inputs, given, state) from error

    async def process_api(*args: Any, **kwargs: Any) -> Any:
        try:
            return await process(*args, **kwargs)
        except gr.Error:
            raise
        except Exception as error:
            logger.exception("an event failed outside its handler")
            with speaking(language):
                raise _broken() from error

    dashboard.preprocess_data = preprocess_data  # type: ignore[method-assign]
    dashboard.process_api = process_api  # type: ignore[method-assign]


def _refused(fields: Sequence[Any], given: Sequence[Any], state: Any) -> gr.Error:
    """The error for what a page sent, with the field's name where one of them refuses it."""
    remedy = tr("Reload the page: it may be older than the server.")
    for field, value in zip(fields, given, strict=False):
        now = state[field._id] if state is not None and field._id in state else field
        if isinstance(now, CHECKING) and _refuses(now, value):
            problem = tr(
                "{field} does not take {value}.", field=_name(now), value=f"{value!r}"[:SHOWN]
            )
            return _error(f"{problem} {remedy}")
    return _error(f"{tr('The page sent something that this field does not take.')} {remedy}")


def _not_uploaded() -> gr.Error:
    problem = tr("The page sent the path of a file that was not uploaded here.")
    return _error(f"{problem} {tr('Upload the file, or reload the page.')}")


def _refuses(field: Any, value: Any) -> bool:
    try:
        field.preprocess(value)
    except Exception:  # noqa: BLE001 - that it refuses is the answer
        return True
    return False


def _name(field: Any) -> str:
    return str(field.label or tr("A field without a name"))


def _broken() -> gr.Error:
    problem = tr("Something went wrong in the dashboard itself.")
    return _error(
        f"{problem} {tr('What happened is written down in {place}.', place=log_location())}"
    )


def _error(words: str) -> gr.Error:
    return gr.Error(words, title=tr("Not done"), print_exception=False)
