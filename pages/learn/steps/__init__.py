"""The steps of the lesson in their order. A step's number is its place here."""

from pages.learn.step import Step
from pages.learn.steps import (
    choose,
    code,
    counts,
    energy,
    gradient,
    memory,
    methods,
    qlora,
    rank,
    scaling,
    starts,
    svd,
    update,
    where,
)

STEPS: tuple[Step, ...] = (
    rank.STEP,
    svd.STEP,
    update.STEP,
    counts.STEP,
    gradient.STEP,
    code.STEP,
    starts.STEP,
    scaling.STEP,
    where.STEP,
    energy.STEP,
    qlora.STEP,
    memory.STEP,
    methods.STEP,
    choose.STEP,
)
