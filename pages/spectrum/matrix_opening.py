"""Opening a matrix: from where it lies to a view of it at every k, with progress on the way.

The handlers of the tab "A matrix" stream what `MatrixOpener.open` yields.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

import gradio as gr
import numpy as np

from lora_engine.cancellation import StopSignal
from lora_engine.engine import Engine
from lora_engine.language import tr
from lora_engine.spectrum import (
    Decomposition,
    PooledFactors,
    ReportProgress,
    choose_method,
    decompose,
    describe_method,
    pool,
    pool_picture,
    sample,
    takes_a_while,
)
from lora_engine.weights import MatrixSource, WithoutMean
from pages.shared.background_work import ProgressRow, TabTask, TabTasks, Work
from pages.shared.wiring import Update
from pages.spectrum.matrix_cache import MatrixCache
from pages.spectrum.matrix_source import START_K, MatrixChoice, open_choice
from pages.spectrum.matrix_view import STOPPED, preview_value, start_k, view_value

SCREEN = 512
MOST_RANKS = 1024  # of the pooled factors: 4 MiB in float32 at 512 x 512
SKETCH_RANKS = 256


@dataclass(frozen=True)
class MatrixOpener:
    """Opens matrices for all browser tabs, one at a time for each."""

    engine: Engine
    cache: MatrixCache
    tasks: TabTasks
    view: gr.HTML
    row: ProgressRow

    def open(self, request: gr.Request, choice: MatrixChoice, k: int = 0) -> Iterator[Update]:
        """Updates of the view and the progress row, until the matrix is shown at k.

        k = 0 shows it where it opens best. A matrix that is open already is shown at once. Ends
        without a word where the person chose something else meanwhile. Raises EngineError.
        """
        task = self.tasks.start(request)
        if choice.kind == "opened" and not choice.without_mean:
            matrix = self.cache.get(choice.name)
            value = view_value(matrix, k or start_k(matrix.decomposition), choice.state(matrix.id))
            yield {self.view: value, **self.row.idle()}
            return
        if_stopped: Update = {self.view: STOPPED}
        yield from self.row.until_stopped(task, self._steps(task, choice, k), if_stopped)

    def _steps(self, task: TabTask, choice: MatrixChoice, k: int) -> Iterator[Update]:
        opened = self.cache.get(choice.name).source if choice.kind == "opened" else None
        source, picture = yield from self.row.watch(task, _reading(self.engine, choice, opened))
        if picture is not None:
            working = self.row.working(0.0, describe_method(source.shape))
            yield {self.view: preview_value(source, picture), **working}
        decomposition, pooled = yield from self.row.watch(task, _decomposing(source))
        matrix = self.cache.put(source, decomposition, pooled)
        is_sample = choice.kind == "sample" and not choice.without_mean
        opens_at = START_K.get(choice.name) if is_sample else None
        value = view_value(matrix, k or opens_at or start_k(decomposition), choice.state(matrix.id))
        yield {self.view: value, **self.row.idle(_sample_html(choice))}


def _reading(
    engine: Engine, choice: MatrixChoice, opened: MatrixSource | None
) -> Work[tuple[MatrixSource, np.ndarray | None]]:
    """Work: the matrix, and its picture alone where decomposing it will take a while.

    opened: the matrix of which the mean is to go, where it is open already.
    """

    def read(progress: ReportProgress, stop: StopSignal) -> tuple[MatrixSource, np.ndarray | None]:
        progress(0.0, tr("opening the matrix"))
        source = open_choice(engine, choice) if opened is None else WithoutMean(opened)
        return source, pool_picture(source, SCREEN, SCREEN) if takes_a_while(source) else None

    return read


def _decomposing(source: MatrixSource) -> Work[tuple[Decomposition, PooledFactors]]:
    """Work: the decomposition, and what the browser draws of it."""

    def decompose_and_pool(
        progress: ReportProgress, stop: StopSignal
    ) -> tuple[Decomposition, PooledFactors]:
        ranks = SKETCH_RANKS if choose_method(source.shape) == "randomized" else MOST_RANKS
        decomposition = decompose(source, vectors=ranks, progress=progress, stop=stop)
        return decomposition, pool(source, decomposition, SCREEN, SCREEN, MOST_RANKS)

    return decompose_and_pool


def _sample_html(choice: MatrixChoice) -> str:
    """What a sample shows, in one sentence that takes the place of the progress."""
    if choice.kind != "sample":
        return ""
    return f'<p class="rs-doing">{escape(tr(sample(choice.name).shows))}</p>'
