"""The steps of the lesson in their order. A step's number is its place here."""

from pages.learn.step import Step
from pages.learn.steps import code, counts, gradient, rank, svd, update

STEPS: tuple[Step, ...] = (
    rank.STEP,
    svd.STEP,
    update.STEP,
    counts.STEP,
    gradient.STEP,
    code.STEP,
)
