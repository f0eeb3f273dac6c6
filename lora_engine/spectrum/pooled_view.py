"""What the browser needs to show any rank k at once, and what it cannot show that way.

Block averaging commutes with the product: pool the rows of U diag(s) to the screen's height
and the rows of V to its width, and left[:, :k] @ right[:, :k]^T is the pooled rank-k picture.
Averaging hides entries of opposite sign that cancel, so there is an exact window at full
resolution and a view by the root mean square of each tile.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np

from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spectrum.decomposition import Decomposition
from lora_engine.spectrum.dense import blocks
from lora_engine.weights.matrix import MatrixSource

MAX_SCREEN = 2048
MAX_WINDOW = 512


@dataclass(frozen=True, eq=False)
class PooledFactors:
    """left (height, q) of U diag(s) and right (width, q) of V, both float32, and the pooled
    matrix itself (height, width). Screen row i stands for rows row_edges[i]..row_edges[i+1]."""

    left: np.ndarray
    right: np.ndarray
    picture: np.ndarray
    row_edges: np.ndarray
    column_edges: np.ndarray

    def rank_k(self, k: int) -> np.ndarray:
        """The pooled rank-k picture, (height, width)."""
        return self.left[:, :k] @ self.right[:, :k].T

    def to_json(self) -> dict[str, object]:
        """Sizes and base64 of little-endian float32, columns of one rank lying together."""

        def packed(values: np.ndarray) -> str:
            return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode()

        return {
            "height": self.left.shape[0],
            "width": self.right.shape[0],
            "ranks": self.left.shape[1],
            "left": packed(self.left.T),
            "right": packed(self.right.T),
            "picture": packed(self.picture),
        }


@dataclass(frozen=True, eq=False)
class Window:
    """A part of the matrix at full resolution: as it is, at rank k, and the difference."""

    row: int
    column: int
    original: np.ndarray
    rank_k: np.ndarray
    difference: np.ndarray


@dataclass(frozen=True, eq=False)
class TileView:
    """Root mean square of each tile (height, width): original, rank k, difference."""

    original: np.ndarray
    rank_k: np.ndarray
    difference: np.ndarray


def pool(
    source: MatrixSource,
    found: Decomposition,
    height: int = 512,
    width: int = 512,
    ranks: int = 256,
) -> PooledFactors:
    """Pool the first `ranks` directions and the matrix to at most height x width tiles."""
    row_edges, column_edges = _edges(source.shape, height, width)
    ranks = min(ranks, found.left.shape[1])
    scaled = found.left[:, :ranks] * found.singular_values[:ranks]
    return PooledFactors(
        left=_means(scaled, row_edges).astype(np.float32),
        right=_means(found.right[:, :ranks], column_edges).astype(np.float32),
        picture=_tile_means(source, row_edges, column_edges),
        row_edges=row_edges,
        column_edges=column_edges,
    )


def pool_picture(source: MatrixSource, height: int, width: int) -> np.ndarray:
    """The matrix alone, (tiles down, tiles across) float32, to show before its factors."""
    return _tile_means(source, *_edges(source.shape, height, width))


def window(
    source: MatrixSource, found: Decomposition, k: int, row: int, column: int, size: int = 64
) -> Window:
    """`size` x `size` entries from (row, column) on, exactly; less at the border.

    Raises EngineError when the place lies outside or the window is too large.
    """
    rows, columns = source.shape
    if not (0 <= row < rows and 0 <= column < columns and 1 <= size <= MAX_WINDOW):
        raise EngineError(
            tr(
                "The window at row {row}, column {column} of size {size} does not fit a "
                "matrix of {rows} x {columns}; a window has 1 to {max_window} rows.",
                row=row,
                column=column,
                size=size,
                rows=f"{rows:,}",
                columns=f"{columns:,}",
                max_window=MAX_WINDOW,
            ),
            tr("Choose a place inside."),
        )
    bottom, right = min(row + size, rows), min(column + size, columns)
    original = source.rows(row, bottom)[:, column:right].astype(np.float64)
    scaled = found.left[row:bottom, :k] * found.singular_values[:k]
    approximation = scaled @ found.right[column:right, :k].T
    return Window(row, column, original, approximation, original - approximation)


def tile_rms(
    source: MatrixSource, found: Decomposition, k: int, height: int = 128, width: int = 128
) -> TileView:
    """The root mean square of each tile, which cancelling signs cannot hide."""
    row_edges, column_edges = _edges(source.shape, height, width)
    sums = [np.zeros((row_edges.size - 1, source.shape[1])) for _ in range(3)]
    for start, stop in blocks(*source.shape):
        block = source.rows(start, stop).astype(np.float64)
        near = found.rank_k_rows(k, start, stop)
        tiles = np.searchsorted(row_edges, np.arange(start, stop), side="right") - 1
        first = np.flatnonzero(np.diff(tiles, prepend=-1))
        for total, part in zip(sums, (block, near, block - near), strict=True):
            total[tiles[first]] += np.add.reduceat(np.square(part), first, axis=0)
    sizes = np.diff(row_edges)[:, None] * np.diff(column_edges)
    views = [np.sqrt(np.add.reduceat(total, column_edges[:-1], axis=1) / sizes) for total in sums]
    return TileView(*views)


def _edges(shape: tuple[int, int], height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    if not (1 <= height <= MAX_SCREEN and 1 <= width <= MAX_SCREEN):
        raise EngineError(
            tr(
                "A picture of {height} x {width} was asked for; 1 to {max_screen} are allowed.",
                height=height,
                width=width,
                max_screen=MAX_SCREEN,
            ),
            tr("Choose a smaller one."),
        )
    rows, columns = shape
    return _borders(rows, min(height, rows)), _borders(columns, min(width, columns))


def _borders(length: int, tiles: int) -> np.ndarray:
    """Where `tiles` tiles of nearly equal size begin and end, (tiles + 1,)."""
    return np.linspace(0, length, tiles + 1).round().astype(np.int64)


def _means(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Means of the rows between edges, (tiles, columns)."""
    return np.add.reduceat(values, edges[:-1], axis=0) / np.diff(edges)[:, None]


def _tile_means(
    source: MatrixSource, row_edges: np.ndarray, column_edges: np.ndarray
) -> np.ndarray:
    sums = np.zeros((row_edges.size - 1, column_edges.size - 1))
    for start, stop in blocks(*source.shape):
        block = source.rows(start, stop).astype(np.float64)
        narrow = np.add.reduceat(block, column_edges[:-1], axis=1)
        tiles = np.searchsorted(row_edges, np.arange(start, stop), side="right") - 1
        first = np.flatnonzero(np.diff(tiles, prepend=-1))
        sums[tiles[first]] += np.add.reduceat(narrow, first, axis=0)
    return (sums / (np.diff(row_edges)[:, None] * np.diff(column_edges))).astype(np.float32)
