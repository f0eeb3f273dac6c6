"""What the tabs that watch runs ask for of themselves: one cheap request, answered once for all.

A tab says what it shows and the fingerprint of what it has, and gets what is new, or 204 and no
body. The runs are looked at once for all tabs of one person and language that show the same, and
each part is rendered once; a look is taken again after a second, or later where it cost more. Looks
are taken one at a time: a hundred tabs that watch a hundred runs wait, and leave the processor to
the training. Knows no component; the browser's side is `static/news.js`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from lora_engine.access import LOCAL, Person, acting_as, person_now
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.language import ENGLISH, LANGUAGES, language, speaking
from lora_engine.runs import RunState
from pages.runs import run_table
from pages.runs.content import Look, seen_at
from pages.runs.run_figures import STEP
from pages.runs.selection import Selection, note_of, with_existing_run
from pages.shared.asking import PERSON_IN_SCOPE
from pages.shared.static_files import ROOT
from pages.shared.wiring import problem_value

if TYPE_CHECKING:
    from fastapi import FastAPI

PATH = f"{ROOT}/watched-runs"
FIELDS = ("known", "asked", "run", "with", "find", "state", "columns", "over")
"""The request's parameters: the fingerprint, the run that the tab asks whether to delete, and the
selection in the order of `SelectionFields.ordered`."""

FRESH_S = 1.0
REST = 20  # a look serves for so many times what it cost
MOST_REST_S = 30.0  # a page is never older than this, however slow the server
MOST_KEPT = 50
MOST_TEXT = 500  # of a search

Key = tuple[str, Person, Selection]


def address() -> str:
    """Where the tabs of the present language ask."""
    return f"{PATH}?lang={language()}"


def add_routes(app: FastAPI, engine: Engine) -> None:
    """Add what a watching tab asks for."""
    from fastapi import Request
    from fastapi.responses import JSONResponse, Response

    watched = Watched(engine)
    not_kept = {"Cache-Control": "no-store"}

    async def watched_runs(request: Request) -> Response:
        given = request.query_params
        spoken = given.get("lang", ENGLISH)
        person = request.scope.get(PERSON_IN_SCOPE, LOCAL)
        with speaking(spoken if spoken in LANGUAGES else ENGLISH), acting_as(person):
            try:
                news = await watched.news(
                    selection_in(given), given.get("known", ""), given.get("asked", "")
                )
            except EngineError as error:
                document = {"problem": error.problem, "remedy": error.remedy}
                return JSONResponse(document, 503, headers=not_kept)
        if not news:
            return Response(status_code=204, headers=not_kept)
        return Response(news, media_type="application/json", headers=not_kept)

    app.add_route(PATH, watched_runs)


def selection_in(given: Mapping[str, str]) -> Selection:
    """The selection that a request names; what it may not name is left out."""
    states, columns = given.get("state", "").split(","), given.get("columns", "").split(",")
    return Selection(
        run_id=given.get("run", "")[:MOST_TEXT],
        others=tuple(given.get("with", "").split(","))[:MOST_TEXT],
        find=given.get("find", "")[:MOST_TEXT],
        states=tuple(state for state in states if state in tuple(RunState)),
        columns=tuple(column for column in columns if column in run_table.columns()),
        axis=given.get("over", STEP)[:MOST_TEXT],
    )


class Watched:
    """The newest look at what each tab shows, shared by the tabs that show the same."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._looking = asyncio.Lock()
        self._kept: OrderedDict[Key, _Shared] = OrderedDict()

    async def news(self, selection: Selection, known: str, asked: str = "") -> str:
        """What is new for a page that has `known`, as `static/news.js` reads it; else "".

        asked: the run that the tab asks whether to delete, whose end is no news there.
        """
        if not known:  # the page has not opened yet, so its address is not read
            return ""
        key = (language(), person_now(), selection)
        shared = self._kept.get(key)
        if shared is None or not shared.answers(known):
            async with self._looking:
                shared = self._kept.get(key)  # another tab may have asked meanwhile
                if shared is None or not shared.answers(known):
                    shared = await anyio.to_thread.run_sync(self._look, selection, known, shared)
                    self._keep(key, shared)
        return shared.since(known, asked)

    def _look(self, selection: Selection, known: str, before: _Shared | None) -> _Shared:
        if before is None or not before.is_fresh(known):
            before = _Shared(self._engine, selection, before)
        before.render(known)
        return before

    def _keep(self, key: Key, shared: _Shared) -> None:
        self._kept[key] = shared
        self._kept.move_to_end(key)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)


class _Shared:
    """A look with its parts as JSON, made in a thread and read in the event loop."""

    def __init__(self, engine: Engine, selection: Selection, before: _Shared | None) -> None:
        began = time.monotonic()
        self._asked_run = selection.run_id
        shown, self._missing = with_existing_run(engine, selection)
        self._look = Look(engine, shown)
        self._texts: dict[str, str] = {} if before is None else before.same_texts(self._look)
        self._gone = {} if self._missing is None else _instead(engine, self._look.run_id)
        self._took = time.monotonic() - began

    def is_fresh(self, known: str) -> bool:
        """Whether it need not be taken again: it is young, and not older than what a page has."""
        age = time.monotonic() - self._look.at / 1000
        rest = min(REST * self._took, MOST_REST_S)
        return age < max(FRESH_S, rest) and seen_at(known) <= self._look.at

    def answers(self, known: str) -> bool:
        """Whether it is fresh, with all that a page with `known` lacks already rendered."""
        changed = self._look.changed(known)
        return self.is_fresh(known) and all(group in self._texts for group in changed)

    def render(self, known: str) -> None:
        began = time.monotonic()
        for group in self._look.changed(known):
            if group not in self._texts:
                self._texts[group] = _members(self._look.parts(group))
        self._took += time.monotonic() - began

    def same_texts(self, newer: Look) -> dict[str, str]:
        """What is rendered of the groups that are the same in a newer look."""
        return {
            group: text
            for group, text in self._texts.items()
            if self._look.digests[group] == newer.digests[group]
        }

    def since(self, known: str, asked: str) -> str:
        members = [self._texts[group] for group in self._look.changed(known)]
        if self._missing is not None:
            is_deleted_here = self._asked_run == asked
            told = {} if is_deleted_here else {"problem": problem_value(self._missing)}
            members.append(_members(self._gone | told))
        values = ",".join(filter(None, members))
        if not values:
            return ""
        known_json, fingerprint = json.dumps(known), json.dumps(self._look.fingerprint)
        return f'{{"known":{known_json},"fingerprint":{fingerprint},"values":{{{values}}}}}'


def _members(values: Mapping[str, Any]) -> str:
    """The values as members of a JSON object, without its braces."""
    return json.dumps(values)[1:-1]


def _instead(engine: Engine, run_id: str) -> dict[str, Any]:
    """What the page changes where its run is gone and another is shown."""
    note, tags = note_of(engine, run_id)
    return {"run_id": run_id, "note": note, "tags": tags}
