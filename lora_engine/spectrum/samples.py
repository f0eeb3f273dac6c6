"""Matrices to start from, each chosen to show one thing about rank."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lora_engine.errors import NotFound
from lora_engine.language import tr, translatable
from lora_engine.weights.matrix import ArrayMatrix

TEACHING = (
    (1, 0, 0, 2, 0),
    (0, 2, 0, 1, 0),
    (0, 0, 3, 0, 0),
    (2, 1, 0, 5, 0),
    (1, 2, 0, 3, 0),
)


@dataclass(frozen=True)
class Sample:
    """A matrix to start from: its name, and what to look for in it."""

    name: str
    title: str
    shows: str
    make: Callable[[], np.ndarray]

    def matrix(self) -> ArrayMatrix:
        return ArrayMatrix(self.make().astype(np.float64), tr(self.title))


def teaching_matrix() -> np.ndarray:
    """5 x 5 of rank 4, small enough to read."""
    return np.array(TEACHING, dtype=np.float64)


def low_rank_plus_noise(size: int = 256, rank: int = 8, noise: float = 0.1) -> np.ndarray:
    """`rank` directions of falling strength, and Gaussian noise of that standard deviation."""
    random = np.random.default_rng(0)
    left = np.linalg.qr(random.standard_normal((size, rank)))[0]
    right = np.linalg.qr(random.standard_normal((size, rank)))[0]
    strength = size * 0.1 * np.linspace(1.0, 0.3, rank)
    return (left * strength) @ right.T + noise * random.standard_normal((size, size))


def hilbert(size: int = 128) -> np.ndarray:
    """H[i, j] = 1 / (i + j + 1): full rank on paper, about 20 in floating point."""
    index = np.arange(size)
    return 1.0 / (index[:, None] + index[None, :] + 1)


def picture(size: int = 384) -> np.ndarray:
    """A drawn landscape, 0 to 255: sky, sun, hills and a fence. Edges across the axes need
    many directions; the fence, upright and level, needs few."""
    y, x = np.mgrid[0:size, 0:size] / size
    image = 190 - 90 * y
    sun = (x - 0.72) ** 2 + (y - 0.22) ** 2
    image = np.where(sun < 0.008, 250, image + 40 * np.exp(-sun / 0.02))
    for height, depth, grey in ((0.50, 0.08, 110), (0.62, 0.06, 80), (0.74, 0.05, 50)):
        ridge = height + depth * np.sin(2 * np.pi * (1.3 * x + height)) + 0.02 * np.sin(21 * x)
        image = np.where(y > ridge, grey + 30 * (y - ridge), image)
    post = (np.mod(x * 12, 1) < 0.25) & (y > 0.80) & (y < 0.97)
    rail = (np.abs(y - 0.85) < 0.008) | (np.abs(y - 0.92) < 0.008)
    return np.clip(np.where(post | rail, 225, image), 0, 255)


SAMPLES = (
    Sample(
        "teaching",
        translatable("Teaching matrix, 5 × 5"),
        translatable("Rank 4: one row follows from the others."),
        teaching_matrix,
    ),
    Sample(
        "low-rank-plus-noise",
        translatable("Low rank plus noise, 256 × 256"),
        translatable("Eight directions stand out of the noise; the rest is its bulk."),
        low_rank_plus_noise,
    ),
    Sample(
        "hilbert",
        translatable("Hilbert matrix, 128 × 128"),
        translatable("Singular values that fall so fast that few of 128 remain."),
        hilbert,
    ),
    Sample(
        "picture",
        translatable("Drawn picture, 384 × 384"),
        translatable("A picture you can recognize at a tenth of its rank."),
        picture,
    ),
)


def sample(name: str) -> Sample:
    """A sample by name. Raises NotFound listing the names there are."""
    for candidate in SAMPLES:
        if candidate.name == name:
            return candidate
    names = ", ".join(candidate.name for candidate in SAMPLES)
    raise NotFound(
        tr("There is no sample {name}.", name=f"{name[:60]!r}"),
        tr("Choose one of: {names}.", names=names),
    )
