"""Problems found one after another: the first few in words, and how many there are in all."""

from __future__ import annotations

from lora_engine.language import tr

SHOWN = 5


class Problems:
    """As much memory for a million problems as for five."""

    def __init__(self) -> None:
        self.first: list[str] = []
        self._count = 0

    def add(self, problem: str) -> None:
        if len(self.first) < SHOWN:
            self.first.append(problem)
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def sentence(self, source: str) -> str:
        """The first few problems and how many more there are."""
        problems, more = "; ".join(self.first), self._count - SHOWN
        if more <= 0:
            return tr("{source}: {problems}.", source=source, problems=problems)
        return tr("{source}: {problems}; and {more} more.",
                  source=source, problems=problems, more=f"{more:,}")  # fmt: skip
