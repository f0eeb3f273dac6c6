"""Quotas: how much disk, queue and memory may be taken here, and what is said where it is more.

disk      what people keep in the data folder: all together, and each person's share
queue     the runs that wait: all together, and each person's
"""

from lora_engine.quotas.disk import (
    ADAPTERS,
    DATASETS,
    MEGABYTE,
    Shelf,
    has_share,
    megabytes,
    refuse_more,
    refuse_waiting_uploads,
    room_for,
    share_used,
    tree_bytes,
    uploads_folder,
)
from lora_engine.quotas.errors import QuotaExceeded
from lora_engine.quotas.queue import QueueQuota

__all__ = [
    "ADAPTERS",
    "DATASETS",
    "MEGABYTE",
    "QueueQuota",
    "QuotaExceeded",
    "Shelf",
    "has_share",
    "megabytes",
    "refuse_more",
    "refuse_waiting_uploads",
    "room_for",
    "share_used",
    "tree_bytes",
    "uploads_folder",
]
