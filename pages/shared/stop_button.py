"""Stop buttons that act before the next token, each for the tab it was clicked in.

Gradio's own cancel acts at a generator's next value. Here the button sets a signal that the engine
checks before every token, and the handler still ends in its own words.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from lora_engine.cancellation import StopSignal


class Stops:
    """What runs for each tab of one section of a page."""

    def __init__(self) -> None:
        self._running: dict[str, StopSignal] = {}
        self._guard = threading.Lock()

    @contextmanager
    def running(self, request: gr.Request) -> Iterator[StopSignal]:
        """Within: the signal that the tab's stop button sets. What ran there before is stopped."""
        tab, mine = request.session_hash or "", StopSignal()
        with self._guard:
            before = self._running.get(tab)
            self._running[tab] = mine
        if before is not None:
            before.set()
        try:
            yield mine
        finally:
            mine.set()
            with self._guard:
                if self._running.get(tab) is mine:
                    del self._running[tab]

    def connect(self, button: gr.Button) -> None:
        """Bind the stop button; it does not wait in the queue behind what it stops."""

        def stop(request: gr.Request) -> None:
            self.stop(request)

        button.click(stop, [], [], queue=False, api_name="page_stop", api_visibility="private")

    def stop(self, request: gr.Request) -> None:
        """Stop what runs for this tab, if anything does."""
        with self._guard:
            running = self._running.get(request.session_hash or "")
        if running is not None:
            running.set()
