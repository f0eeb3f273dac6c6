"""Several runs from their specs to their results, in one process over one frozen base.

Step k of every living run, then the next one. A run that was resumed further back catches up
first. The base is loaded once, the rows are tokenized once. Each run has its optimizer, its random
numbers and its files for itself; `member` is one of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from lora_engine.training.kept_base import KeptBase
from lora_engine.training.models.assemble import load_base
from lora_engine.training.skipped_imports import skip_unused_imports
from lora_engine.training.together.halving import Halving
from lora_engine.training.together.member import Member
from lora_engine.training.together.passes import Passes
from lora_engine.training.together.shared_base import share_weights
from lora_engine.training.train_run import with_kept_base

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger("lora_engine.training.worker")


def train_together(
    members: Sequence[Member],
    resume: bool,
    should_stop: Callable[[], bool],
    stop_worse: bool = False,
    kept: KeptBase | None = None,
) -> None:
    """Train every run to its end; each writes its own result.

    should_stop: whether all are to stop. One of them stops where its directory says so, or with
    stop_worse where `halving` finds it clearly worse than another. kept: may hold their base. An
    error that is not one run's own ends all that live, with that error as their result.
    """
    try:
        base = _prepare_all(members, kept)
        if base is None:
            return
        for member in _living(members):
            streams = (other.stream for other in _living(members))
            stream = next((one for one in streams if one is not None), None)
            member.get_ready(share_weights(base), resume, stream)
        if living := _living(members):
            halving = Halving(living) if stop_worse else None
            _make_steps(Passes(base, living), members, should_stop, halving)
    except Exception as error:  # noqa: BLE001 - every ending is written down
        for member in _living(members):
            member.fail(error)


def _make_steps(
    passes: Passes,
    members: Sequence[Member],
    should_stop: Callable[[], bool],
    halving: Halving | None,
) -> None:
    while living := _living(members):
        if should_stop():
            for member in living:
                member.stop()
            return
        for member in living:
            _end_if_due(member)
        going_on = _living(members)
        passes.keep(going_on)
        fewest = min((member.progress.step for member in going_on), default=0)
        passes.make_steps([member for member in going_on if member.progress.step == fewest])
        if halving is not None:
            halving.look_at(_living(going_on))


def _end_if_due(member: Member) -> None:
    if member.ready.steps.are_done:
        member.finish()
    elif member.directory.stop_requested():
        member.stop()


def _living(members: Sequence[Member]) -> list[Member]:
    return [member for member in members if member.is_living]


def _prepare_all(members: Sequence[Member], kept: KeptBase | None) -> PreTrainedModel | None:
    """Everything before the model, and the base, loaded once; None where no run is left."""
    with ExitStack() as logs:
        for member in members:
            logs.enter_context(member.log.writing())
        for member in members:
            member.prepare([other.prepared for other in _living(members) if other.is_prepared])
        living = _living(members)
        if not living:
            return None
        skip_unused_imports([member.prepared.spec for member in living])
        log.info("%d runs train together: %s", len(living), ", ".join(m.name for m in living))
        return load_base(with_kept_base(living[0].prepared, kept))
