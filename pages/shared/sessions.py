"""What Gradio keeps for each browser tab, bounded; and its queue, which waits instead of polling.

Gradio keeps a description of every component for each session, about 1 MB, for the last 10,000
sessions, and never hears that a tab has gone: to hear it, each tab would hold a connection open,
and a browser has six for a server. Here a session costs what its page has changed (tens of
kilobytes), the last `SESSIONS` are kept, and what waits to be told to a tab goes with it.

Gradio's queue looks every millisecond for an event and after each event makes a table of the last
10,000 for a monitor that is switched off. Here it waits until there is an event.

Overrides parts of Gradio 6.31 (`state_holder.py`, `queueing.py`); knows no page.
"""

from __future__ import annotations

import asyncio
import time
from asyncio import Queue as AsyncQueue
from collections import ChainMap
from copy import copy
from typing import TYPE_CHECKING, Any

from gradio.queueing import Event, Queue
from gradio.state_holder import SessionState, StateHolder
from gradio.utils import LRUCache, run_coro_in_background, set_task_name

if TYPE_CHECKING:
    import gradio as gr

SESSIONS = 1000  # of all tabs of one language; one that comes back later begins anew
UNTOLD = 400  # sessions with an answer that nobody has fetched
PROGRESS_S = 0.25


def bound_sessions(dashboard: gr.Blocks) -> None:
    """Give a mounted dashboard these sessions and this queue. Before it serves."""
    dashboard.state_session_capacity = SESSIONS
    sessions = Sessions()
    sessions.set_blocks(dashboard)
    dashboard.app.state_holder = sessions
    dashboard._queue = WaitingQueue(dashboard)


class Sessions(StateHolder):
    """The states of the last sessions. `session_data` is in the order of their last use."""

    def __getitem__(self, session_id: str) -> SessionState:
        if session_id not in self.session_data:
            self.session_data[session_id] = _LightState(self.blocks)
        return super().__getitem__(session_id)


class _LightState(SessionState):
    """A session that shares the dashboard's components until it changes one.

    `config_values`, which Gradio fills for its deep links, stays empty: there are none here.
    """

    def __init__(self, blocks: gr.Blocks) -> None:
        self.blocks_config = copy(blocks.default_config)
        self.blocks_config.blocks = ChainMap({}, blocks.default_config.blocks)  # type: ignore[assignment]
        self.blocks_config.fns = blocks.default_config.fns  # no page makes events while it runs
        self.config_values = {}
        self.state_data = {}
        self._state_ttl = {}
        self.is_closed = False
        self.STATE_TTL_WHEN_CLOSED = 0

    def __setitem__(self, key: int, value: Any) -> None:
        super().__setitem__(key, value)
        self.config_values.clear()

    def _update_config(self, key: int) -> None:
        pass

    def _update_value_in_config(self, key: int, value: Any) -> None:
        pass


class WaitingQueue(Queue):
    """Gradio's queue of a dashboard. An event or a free place wakes it; nothing else does."""

    def __init__(self, dashboard: gr.Blocks) -> None:
        given = dashboard._queue
        super().__init__(
            live_updates=given.live_updates,
            concurrency_count=given.max_thread_count,
            update_intervals=given.update_intervals,
            max_size=given.max_size,
            blocks=dashboard,
            default_concurrency_limit=given.default_concurrency_limit,
        )
        self.server_app = given.server_app
        self.progress_update_sleep_when_free = PROGRESS_S
        self.pending_messages_per_session = LRUCache(UNTOLD)
        self.ANALYTICS_MAX_EVENTS = 1
        self._woken = asyncio.Event()

    def compute_analytics_summary(self, records: Any) -> dict[str, Any]:
        """For Gradio's monitor, which is switched off."""
        return self.cached_event_analytics_summary

    async def push(self, *args: Any, **kwargs: Any) -> Any:
        if len(self.pending_event_ids_session) >= UNTOLD:
            self._forget_told()
        answer = await super().push(*args, **kwargs)
        self._woken.set()
        return answer

    async def process_events(self, *args: Any, **kwargs: Any) -> None:
        try:
            await super().process_events(*args, **kwargs)
        finally:
            self._woken.set()

    async def clean_events(
        self, *, session_hash: str | None = None, event_id: str | None = None
    ) -> None:
        """Forget what was asked by a session whose stream is cut, but not the session.

        A page that is left cuts its stream at once and lives until the next one comes. Meanwhile
        it may open the stream again for an answer that it waits for, and where nobody knew it, it
        would take the server for a new one and load itself anew, in place of the next page.
        """
        if session_hash is not None and session_hash not in self.pending_messages_per_session:
            self.pending_messages_per_session[session_hash] = AsyncQueue()
        await super().clean_events(session_hash=session_hash, event_id=event_id)

    def close(self) -> None:
        super().close()
        self._woken.set()

    async def start_processing(self) -> None:
        try:
            while not self.stopped:
                await self._woken.wait()
                self._woken.clear()
                await self._begin_what_can()
        finally:
            self.stopped = True
            self._cancel_asyncio_tasks()

    async def _begin_what_can(self) -> None:
        while None in self.active_jobs:
            async with self.delete_lock:
                found = self.get_events()
            if not found:
                return
            self._begin(*found)

    def _begin(self, events: list[Event], batch: bool, concurrency_id: str) -> None:
        """As in the loop of Gradio's own `start_processing`."""
        now, fn = time.time(), events[0].fn
        self.active_jobs[self.active_jobs.index(None)] = events
        places = self.event_queue_per_concurrency_id[concurrency_id]
        places.current_concurrency += 1
        places.start_times_per_fn[fn].add(now)
        task = run_coro_in_background(self.process_events, events, batch, now, fn)
        set_task_name(task, events[0].session_hash, fn._id, events[0]._id, batch)
        self._asyncio_tasks.add(task)
        task.add_done_callback(self._asyncio_tasks.discard)
        if self.live_updates:
            self.broadcast_estimations(concurrency_id)

    def _forget_told(self) -> None:
        """Forget the sessions that have been told everything, or whose answers are gone."""
        waiting, told = self.pending_event_ids_session, self.pending_messages_per_session
        for session in [one for one in waiting if not waiting[one] or one not in told]:
            del waiting[session]
            told.pop(session, None)
