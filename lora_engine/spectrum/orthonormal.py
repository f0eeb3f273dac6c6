"""Orthonormal columns of a tall matrix, quickly and to full precision.

CholeskyQR2 (Yamamoto, Nakatsukasa, Yanagisawa and Fukaya 2015): Cholesky of V^T V gives a Q1
that is orthonormal to eps cond(V)^2, and once more a Q2 to eps. Two matrix products in place of
2 p Householder steps: ten times quicker while other work holds the cores. It needs
cond(V) < 1e7 or so; where Q1 turns out too far from orthonormal, Householder does it after all.
"""

from __future__ import annotations

import numpy as np

CLOSE_TO_ORTHONORMAL = 0.1


def orthonormal(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Q (n, q) with orthonormal columns and R (q, p), values (n, p) = Q R, q = min(n, p)."""
    steps = _two_steps(values)
    if steps is None:
        q, r = np.linalg.qr(values)
        return q, r
    q1, lower1, lower2 = steps
    return np.linalg.solve(lower2, q1.T).T, (lower1 @ lower2).T


def triangle(values: np.ndarray) -> np.ndarray:
    """R alone, (q, p): V^T V = R^T R without the loss of forming it once."""
    steps = _two_steps(values)
    if steps is None:
        return np.asarray(np.linalg.qr(values, mode="r"))
    _, lower1, lower2 = steps
    return (lower1 @ lower2).T


def _two_steps(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Q1 and the Cholesky factors of V^T V and Q1^T Q1; None where V is too ill-conditioned."""
    if values.shape[0] < values.shape[1]:
        return None
    try:
        lower1 = np.linalg.cholesky(values.T @ values)
        q1 = np.linalg.solve(lower1, values.T).T
        gram = q1.T @ q1
        if not np.abs(gram - np.eye(gram.shape[0])).sum(axis=0).max() < CLOSE_TO_ORTHONORMAL:
            return None
        return q1, lower1, np.linalg.cholesky(gram)
    except np.linalg.LinAlgError:
        return None
