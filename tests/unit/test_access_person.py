"""Who acts: the person of the present work, and what their role lets them do."""

from __future__ import annotations

from types import SimpleNamespace

import gradio as gr  # noqa: TID251
import pytest
from gradio.context import LocalContext  # noqa: TID251

from lora_engine.access import LOCAL, Forbidden, Person, acting_as, need_role, person_now
from pages.shared.asking import PERSON_IN_SCOPE
from pages.shared.wiring import expose, problem_box, wire

pytestmark = pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")

ANNA, BEN = Person("anna", "run"), Person("ben", "see")


def test_without_a_login_whoever_is_here_manages() -> None:
    assert person_now() == LOCAL
    need_role("manage")


@pytest.mark.parametrize(
    ("role", "may"),
    [("see", {"see"}), ("run", {"see", "run"}), ("manage", {"see", "run", "manage"})],
)
def test_a_role_may_what_those_before_it_may(role, may) -> None:
    for wanted in ("see", "run", "manage"):
        with acting_as(Person("anna", role)):
            if wanted in may:
                need_role(wanted)
            else:
                with pytest.raises(Forbidden, match="anna"):
                    need_role(wanted)


def _asked_by(person: Person | None):
    scope = {} if person is None else {PERSON_IN_SCOPE: person}
    return SimpleNamespace(request=SimpleNamespace(scope=scope))


@pytest.mark.parametrize("asked_by", [ANNA, None])
def test_a_handler_acts_for_whoever_asked_it(asked_by) -> None:
    def who() -> str:
        return person_now().name

    def who_streams():
        yield person_now().name
        yield person_now().name

    with gr.Blocks() as blocks:
        button, text, problem = gr.Button(), gr.Textbox(interactive=False), problem_box()
        wire([button.click], who, [], [text], problem=problem)
        wire([button.click], who_streams, [], [text], problem=problem)
        expose(who, "who")
    plain, streaming, exposed = (event.fn for event in blocks.fns.values())
    name = (asked_by or LOCAL).name

    token = LocalContext.request.set(_asked_by(asked_by))  # type: ignore[arg-type]
    try:
        with acting_as(BEN):  # whose request began Gradio's queue
            assert plain()[text] == name
            steps = streaming()
            first = next(steps)[text]
            LocalContext.request.set(None)  # Gradio clears it between steps
            assert [first, next(steps)[text]] == [name, name]
            LocalContext.request.set(_asked_by(asked_by))  # type: ignore[arg-type]
            assert exposed() == name
    finally:
        LocalContext.request.reset(token)


def test_a_handler_called_in_python_acts_for_its_caller() -> None:
    with gr.Blocks() as blocks:
        button, text, problem = gr.Button(), gr.Textbox(interactive=False), problem_box()
        wire([button.click], lambda: person_now().name, [], [text], problem=problem)
    (event,) = blocks.fns.values()
    with acting_as(ANNA):
        assert event.fn()[text] == "anna"
