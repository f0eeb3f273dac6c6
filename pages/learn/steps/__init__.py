"""The steps of the lesson in their order. A step's number is its place here."""

from pages.learn.step import Step
from pages.learn.steps import rank

STEPS: tuple[Step, ...] = (rank.STEP,)
