"""Opening a matrix: from where it lies to a view of it at every k, with progress on the way.

The handlers of the tab "A matrix" stream what `Opener.open` yields: view, progress, stop button.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

import gradio as gr
import numpy as np

from lora_engine.cancellation import StopSignal
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.spectrum import (
    Decomposition,
    Stopped,
    decompose,
    describe_method,
    pool,
    pool_picture,
    sample,
    takes_a_while,
)
from lora_engine.spectrum.decomposition import choose_method
from lora_engine.spectrum.pooled_view import PooledFactors
from lora_engine.spectrum.progress import ReportProgress
from lora_engine.weights import MatrixSource
from pages.spectrum.long_work import Job, Step, Turn, Turns
from pages.spectrum.matrix_source import START_K, Wanted, open_wanted
from pages.spectrum.matrix_view import first_look, start_k, view_value
from pages.spectrum.open_matrices import Shelf

SCREEN = 512
MOST_RANKS = 1024  # of the pooled factors: 4 MiB in float32 at 512 x 512
SKETCH_RANKS = 256


@dataclass(frozen=True)
class Opener:
    """Opens matrices for all browser tabs, one at a time for each."""

    engine: Engine
    shelf: Shelf
    turns: Turns

    def open(self, request: gr.Request, wanted: Wanted, k: int = 0) -> Iterator[tuple]:
        """View, progress and stop button, until the matrix is shown at k (0: where it opens).

        Ends without a word where the person chose something else meanwhile. Raises EngineError.
        """
        turn = self.turns.take(request)
        try:
            yield from self._opened(turn, wanted, k)
        except Stopped:
            if turn.by_person:
                yield (json.dumps({"stopped": True}), "", gr.Button(visible=False))
        except EngineError:
            yield (gr.skip(), "", gr.Button(visible=False))
            raise

    def _opened(self, turn: Turn, wanted: Wanted, k: int) -> Iterator[tuple]:
        working = gr.Button(visible=True)
        with Job(turn, lambda progress, stop: _looked_at(open_wanted(self.engine, wanted))) as job:
            for _ in job.steps():
                yield (gr.skip(), Step(0.0, "opening the matrix").html(), working)
            source, look = job.result()
        if look is not None:
            first = Step(0.0, describe_method(source.shape)).html()
            yield (first_look(source, look), first, working)
        with Job(turn, lambda progress, stop: _taken_apart(source, progress, stop)) as job:
            for step in job.steps():
                yield (gr.skip(), step.html(), working)
            found, pooled = job.result()
        matrix = self.shelf.put(source, found, pooled)
        opens_at = START_K.get(wanted.name) if wanted.kind == "sample" else None
        value = view_value(matrix, k or opens_at or start_k(found), wanted.state())
        yield (value, _what_to_see(wanted), gr.Button(visible=False))


def _what_to_see(wanted: Wanted) -> str:
    """A sample's one sentence, where the progress was."""
    if wanted.kind != "sample":
        return ""
    return f'<p class="rs-doing">{escape(sample(wanted.name).shows)}</p>'


def _looked_at(source: MatrixSource) -> tuple[MatrixSource, np.ndarray | None]:
    """The matrix, and its picture alone where taking it apart will take a while."""
    return source, pool_picture(source, SCREEN, SCREEN) if takes_a_while(source) else None


def _taken_apart(
    source: MatrixSource, progress: ReportProgress, stop: StopSignal
) -> tuple[Decomposition, PooledFactors]:
    ranks = SKETCH_RANKS if choose_method(source.shape) == "randomized" else MOST_RANKS
    found = decompose(source, vectors=ranks, progress=progress, stop=stop)
    return found, pool(source, found, SCREEN, SCREEN, MOST_RANKS)
