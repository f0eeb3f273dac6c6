"""A question that is answered already: what the run of an adapter noted of it as it trained.

A run writes its sample answers before the first step, where the adapter changes nothing, and after
the last. Reading them costs nothing, so a comparison can open on them. Loads no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_engine.adapters.config import read_provenance
from lora_engine.files import read_rows
from lora_engine.run_folder import SAMPLES, SampleRow

MAX_FILE_BYTES = 4_000_000  # of a larger file the last answers are not known
STARTS_AS_THE_BASE = "lora"  # B is 0, or what it adds was taken out of the base's weights


@dataclass(frozen=True)
class SampledAnswers:
    """A question and its answers: the base's, and one for each adapter after that many steps."""

    prompt: str
    base: str
    adapters: tuple[str, ...]
    steps: tuple[int, ...]


def sampled_answers(adapters: Sequence[Path]) -> SampledAnswers | None:
    """A question that the runs of all these adapters answered; None where there is none.

    The first that the first adapter answers otherwise than the base does, else the first.
    """
    samples = [_samples_of(folder) for folder in adapters]
    if not samples:
        return None
    first, *others = samples
    shared = [prompt for prompt in first if all(prompt in other for other in others)]
    if not shared:
        return None
    prompt = next((one for one in shared if first[one].differs), shared[0])
    found = [one[prompt] for one in samples]
    return SampledAnswers(
        prompt,
        found[0].before,
        tuple(one.after for one in found),
        tuple(one.step for one in found),
    )


@dataclass(frozen=True)
class _Sample:
    before: str
    after: str
    step: int

    @property
    def differs(self) -> bool:
        return self.before != self.after


def _samples_of(adapter: Path) -> Mapping[str, _Sample]:
    """By prompt; empty where the run did not begin as its base or noted nothing."""
    if not _began_as_its_base(adapter):
        return {}
    places = [adapter / SAMPLES, adapter.parent / SAMPLES]
    path = next((one for one in places if one.is_file()), None)
    if path is None or path.stat().st_size > MAX_FILE_BYTES:
        return {}
    rows = list(read_rows(path, SampleRow, MAX_FILE_BYTES))
    last = max((row.step for row in rows), default=0)
    before = {row.prompt: row.text for row in rows if row.step == 0}
    return {
        row.prompt: _Sample(before[row.prompt], row.text, last)
        for row in rows
        if row.step == last > 0 and row.prompt in before
    }


def _began_as_its_base(adapter: Path) -> bool:
    """Whether the adapter changed nothing before its first step; the file is not ours to trust."""
    try:
        method = (read_provenance(adapter) or {})["spec"]["method"]
        return method["finetuning_type"] == STARTS_AS_THE_BASE and not method.get("init_from")
    except (KeyError, TypeError):
        return False
