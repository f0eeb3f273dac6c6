"""What the spectrum page asks for without Gradio: pooled factors, exact parts, files.

Plain GET routes behind the same guard as everything else. The id of a matrix cannot be guessed,
so nobody reads another tab's. Errors are JSON with problem and remedy.
"""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from lora_engine.errors import EngineError, NotFound
from lora_engine.language import speaking
from lora_engine.spectrum import tile_rms, window, write_rank_k
from pages.shared.languages import of_request
from pages.shared.static_files import ROOT
from pages.spectrum.matrix_cache import MatrixCache, OpenMatrix

ADDRESS = f"{ROOT}/spectrum"
CHUNK_RANKS = 128
CHUNK_BYTES = 2**20
TILES = 256  # root mean squares across and down, at most
NOT_KEPT = {"Cache-Control": "no-store"}


def add_routes(app: FastAPI, cache: MatrixCache) -> None:
    """Add the routes by matrix id."""

    @app.get(ADDRESS + "/{matrix_id}/factors")
    def factors(request: Request, matrix_id: str, first: int = 0) -> Response:
        return _answered(request, lambda: _factors(cache.get(matrix_id), first))

    @app.get(ADDRESS + "/{matrix_id}/window")
    def exact(
        request: Request, matrix_id: str, k: int, row: int, column: int, size: int = 64
    ) -> Response:
        return _answered(request, lambda: _window(cache.get(matrix_id), k, row, column, size))

    @app.get(ADDRESS + "/{matrix_id}/tiles")
    def tiles(request: Request, matrix_id: str, k: int) -> Response:
        return _answered(request, lambda: _tiles(cache.get(matrix_id), k))

    @app.get(ADDRESS + "/{matrix_id}/factors.npz")
    def factors_file(request: Request, matrix_id: str, k: int) -> Response:
        return _answered(request, lambda: _factors_file(cache.get(matrix_id), k))

    @app.get(ADDRESS + "/{matrix_id}/rank-k.npy")
    def rank_k_file(request: Request, matrix_id: str, k: int) -> Response:
        return _answered(request, lambda: _rank_k_file(cache.get(matrix_id), k))


def _answered(request: Request, make: Callable[[], Response]) -> Response:
    """What `make` answers, or the error in the language of who asks."""
    try:
        with speaking(of_request(request.scope)):
            return make()
    except EngineError as error:
        status = 404 if isinstance(error, NotFound) else 400
        document = {"problem": error.problem, "remedy": error.remedy}
        return JSONResponse(document, status, headers=NOT_KEPT)


def _factors(matrix: OpenMatrix, first: int) -> Response:
    """Little-endian float32: up to 128 ranks from `first` on, left (ranks, height) and right
    (ranks, width). For `first` = 0 the pooled matrix (height, width) stands before them."""
    pooled = matrix.pooled
    last = min(max(0, first) + CHUNK_RANKS, pooled.left.shape[1])
    parts = [pooled.left[:, first:last].T, pooled.right[:, first:last].T]
    if first == 0:
        parts.insert(0, pooled.picture)
    body = b"".join(np.ascontiguousarray(part, "<f4").tobytes() for part in parts)
    return Response(body, media_type="application/octet-stream", headers=NOT_KEPT)


def _window(matrix: OpenMatrix, k: int, row: int, column: int, size: int) -> Response:
    found = matrix.decomposition
    part = window(matrix.source, found, found.available_k(k), row, column, size)
    views = (part.original, part.rank_k, part.difference)
    return JSONResponse(_views(views) | {"row": row, "column": column}, headers=NOT_KEPT)


def _tiles(matrix: OpenMatrix, k: int) -> Response:
    found = matrix.decomposition
    part = tile_rms(matrix.source, found, found.available_k(k), TILES, TILES)
    views = (part.original, part.rank_k, part.difference)
    return JSONResponse(_views(views), headers=NOT_KEPT)


def _views(views: tuple[np.ndarray, np.ndarray, np.ndarray]) -> dict[str, object]:
    """Three pictures of one size, as base64 of little-endian float32."""
    names = ("original", "rank_k", "difference")
    packed = {
        name: base64.b64encode(np.ascontiguousarray(view, "<f4").tobytes()).decode()
        for name, view in zip(names, views, strict=True)
    }
    height, width = views[0].shape
    return {"height": height, "width": width, **packed}


def _factors_file(matrix: OpenMatrix, k: int) -> Response:
    """U (rows, k), singular_values (k,), V (columns, k), as they were computed."""
    found = matrix.decomposition
    kept = found.available_k(k)
    file = io.BytesIO()
    np.savez(
        file,
        U=found.left[:, :kept],
        singular_values=found.singular_values[:kept],
        V=found.right[:, :kept],
    )
    headers = {**NOT_KEPT, "Content-Disposition": f'attachment; filename="factors-k{kept}.npz"'}
    return Response(file.getvalue(), media_type="application/zip", headers=headers)


def _rank_k_file(matrix: OpenMatrix, k: int) -> Response:
    kept = matrix.decomposition.available_k(k)
    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name) / "rank-k.npy"
    write_rank_k(matrix.decomposition, kept, path)
    headers = {
        **NOT_KEPT,
        "Content-Disposition": f'attachment; filename="rank-{kept}.npy"',
        "Content-Length": str(path.stat().st_size),
    }
    return StreamingResponse(_sent(path, folder), headers=headers)


def _sent(path: Path, folder: tempfile.TemporaryDirectory) -> Iterator[bytes]:
    """A file in blocks; its folder goes when it has been sent or given up."""
    with folder, path.open("rb") as file:
        while block := file.read(CHUNK_BYTES):
            yield block
