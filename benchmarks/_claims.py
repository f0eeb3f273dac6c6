"""The figures of a benchmark that have an aim, and how they are printed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """One figure and whether it reaches its aim. must: the aim; empty where there is none."""

    name: str
    value: float
    unit: str
    must: str
    reached: bool


def print_claims(claims: Iterable[Claim]) -> None:
    """A line for each."""
    for one in claims:
        mark = "" if not one.must else ("  reached" if one.reached else "  NOT REACHED")
        print(f"{one.name:64} {one.value:12.4g} {one.unit:8} {one.must:10}{mark}")
