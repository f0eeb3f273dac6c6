"""The dashboard's pages: what each is called, where it is and what it is for, in order.

Every page has a package of its own, which exports `build(engine) -> gr.Blocks`; `app.py` builds
them and puts them at these paths. What they have in common is in `shared`. This module imports
nothing, so a page can name any other page.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Page:
    """One page: `title` stands in the navigation bar, `purpose` is its one sentence."""

    title: str
    path: str
    purpose: str

    @property
    def package(self) -> str:
        """The page's package under `pages`."""
        return self.title.lower()


LEARN = Page(
    "Learn",
    "/learn",
    "What low rank is and how to choose it, in short steps. For anyone who can read a table of "
    "numbers.",
)
CALCULATOR = Page(
    "Calculator",
    "/",
    "See how few numbers a low-rank adapter trains, for one matrix or a whole model.",
)
SPECTRUM = Page(
    "Spectrum",
    "/spectrum",
    "See how much of a matrix its largest singular values hold, and what is lost without the rest.",
)
TRAIN = Page(
    "Train",
    "/train",
    "Train a low-rank adapter on your own rows, in a process that outlives this page.",
)
RUNS = Page(
    "Runs",
    "/runs",
    "Watch runs learn, stop them, and see how they ended.",
)
COMPARE = Page(
    "Compare",
    "/compare",
    "Ask the base model and the adapted one the same question, side by side.",
)
ADAPTERS = Page(
    "Adapters",
    "/adapters",
    "Every adapter you have: what it is, what it weighs, and what can be made of it.",
)

PAGES = (LEARN, CALCULATOR, SPECTRUM, TRAIN, RUNS, COMPARE, ADAPTERS)
