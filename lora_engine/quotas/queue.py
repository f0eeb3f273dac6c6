"""The quota of the queue: how many runs may wait, all together and each person's.

`local` has no share of their own: only the sum holds for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lora_engine.access import LOCAL
from lora_engine.language import tr, tr_count
from lora_engine.quotas.errors import QuotaExceeded
from lora_engine.settings import Settings


@dataclass(frozen=True)
class QueueQuota:
    """most: runs that may wait; most_a_person: of one person."""

    most: int
    most_a_person: int

    @classmethod
    def of(cls, settings: Settings) -> QueueQuota:
        return cls(settings.max_queued, settings.max_queued_per_person)

    def refuse_more(self, waiting: Mapping[str, int], new: Mapping[str, int]) -> None:
        """Raises QuotaExceeded where these are too many. Both say how many runs by their owner."""
        used, more = sum(waiting.values()), sum(new.values())
        if more and used + more > self.most:
            raise QuotaExceeded(
                _refused(
                    more, tr("{used} already wait and {most} may.", used=used, most=self.most)
                ),
                tr("Wait until some have run, cancel some that wait, or raise LORA_MAX_QUEUED."),
            )
        for owner, count in new.items():
            own = waiting.get(owner, 0)
            if owner != LOCAL.name and own + count > self.most_a_person:
                raise QuotaExceeded(
                    _refused(
                        count,
                        tr(
                            "{used} of {owner} already wait, and {most} of one person may.",
                            used=own,
                            owner=owner,
                            most=self.most_a_person,
                        ),
                    ),
                    tr(
                        "Wait until some have run, cancel some that wait, or ask whoever manages "
                        "this dashboard to raise LORA_MAX_QUEUED_PER_PERSON."
                    ),
                )


def _refused(count: int, why: str) -> str:
    return tr_count(
        "{count} run cannot be queued: {why}",
        "{count} runs cannot be queued: {why}",
        count,
        why=why,
    )
