"""The dashboard's pages: what each is called, where it is and what it is for, in order.

Every page has a package of its own, which exports `build(engine) -> gr.Blocks`; `app.py` builds
them and puts them at these paths. What they have in common is in `shared`. This module imports
no page, so a page can name any other page.
"""

from __future__ import annotations

from dataclasses import dataclass

from lora_engine.language import translatable


@dataclass(frozen=True)
class Page:
    """One page: `title` stands in the navigation bar, `purpose` is its one sentence.

    Both are English; they go through `tr` where they are shown.
    """

    title: str
    path: str
    purpose: str

    @property
    def package(self) -> str:
        """The page's package under `pages`."""
        return self.title.lower()


LEARN = Page(
    translatable("Learn"),
    "/learn",
    translatable(
        "What low rank is and how to choose it, in short steps. "
        "For anyone who can read a table of numbers."
    ),
)
CALCULATOR = Page(
    translatable("Calculator"),
    "/",
    translatable("See how few numbers a low-rank adapter trains, for one matrix or a whole model."),
)
SPECTRUM = Page(
    translatable("Spectrum"),
    "/spectrum",
    translatable(
        "See how much of a matrix its largest singular values hold, "
        "and what is lost without the rest."
    ),
)
TRAIN = Page(
    translatable("Train"),
    "/train",
    translatable(
        "Train a low-rank adapter on your own rows, in a process that outlives this page."
    ),
)
RUNS = Page(
    translatable("Runs"),
    "/runs",
    translatable("Watch runs learn, stop them, and see how they ended."),
)
COMPARE = Page(
    translatable("Compare"),
    "/compare",
    translatable("Ask the base model and the adapted one the same question, side by side."),
)
ADAPTERS = Page(
    translatable("Adapters"),
    "/adapters",
    translatable("Every adapter you have: what it is, what it weighs, and what can be made of it."),
)

PAGES = (LEARN, CALCULATOR, SPECTRUM, TRAIN, RUNS, COMPARE, ADAPTERS)
