"""Questions of a page held back on their way, so that an early one is answered late or last.

    with held_questions(page) as held:
        change_one_field()
        held.wait_for(1)          # its question is on its way and stays there
        held.let_new_ones_pass()
        change_another_field()    # is asked and answered at once, or waits behind the first
        held.release()            # now the first, with what it asked for then

Works on every page: it holds the requests of Gradio's client, whatever the handler. A page tests
its fields in pairs with `assert_the_last_choice_wins`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from playwright.sync_api import Page, Route

QUESTIONS = ("**/gradio_api/queue/join*", "**/gradio_api/run/*")
STEP_MS = 20
LONGEST_MS = 30_000
SETTLED_MS = 300


class HeldQuestions:
    """The questions that were held, in the order in which the page asked them."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._holds = True
        self._held: list[Route] = []

    @property
    def triggers(self) -> list[int | None]:
        """The number of the component that led to each question."""
        return [route.request.post_data_json.get("trigger_id") for route in self._held]

    def wait_for(self, count: int) -> None:
        """Wait until so many questions are held."""
        for _ in range(LONGEST_MS // STEP_MS):
            if len(self._held) >= count:
                return
            self._page.wait_for_timeout(STEP_MS)
        raise AssertionError(f"{len(self._held)} questions were asked, not {count}")

    def let_new_ones_pass(self) -> None:
        self._holds = False

    def release(self) -> None:
        """Send what was held, the newest question first."""
        while self._held:
            self._held.pop().continue_()

    def _take(self, route: Route) -> None:
        if self._holds:
            self._held.append(route)
        else:
            route.continue_()


@contextmanager
def held_questions(page: Page) -> Iterator[HeldQuestions]:
    """Hold what the page asks; at the end all is released and nothing is held any more."""
    held = HeldQuestions(page)
    for address in QUESTIONS:
        page.route(address, held._take)
    try:
        yield held
    finally:
        held.let_new_ones_pass()
        held.release()
        for address in QUESTIONS:
            page.unroute(address)


def assert_the_last_choice_wins(
    page: Page,
    first: Callable[[Page], None],
    second: Callable[[Page], None],
    shown: Callable[[Page], None],
) -> None:
    """Change a field, and another while the first question is still on its way.

    first and second: change a field of the page; shown: expects both fields, and the figures of
    both together, which must hold once all answers are there, and stay.
    """
    with held_questions(page) as held:
        first(page)
        held.wait_for(1)
        held.let_new_ones_pass()
        second(page)
        page.wait_for_timeout(SETTLED_MS)
        held.release()
        shown(page)
        page.wait_for_timeout(SETTLED_MS)
        shown(page)
