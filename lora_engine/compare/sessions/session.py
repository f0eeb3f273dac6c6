"""A saved comparison: the models and settings that answered, and what each column said.

Every field is bounded, since a file may come from anybody. A server's key is no part of it. Field
names are those of the file.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from lora_engine.compare.generate.adapter_settings import MAX_LAYER, MAX_STRENGTH, AdapterSettings
from lora_engine.compare.generate.remote_server import MAX_MODEL, MAX_URL
from lora_engine.generation.sampling import Sampling

VERSION: Literal[1] = 1  # of the file; one without a version is of version 1
MAX_COLUMNS = 5
MAX_REVISION = 1_000_000_000
Layer = Annotated[int, Field(ge=0, le=MAX_LAYER)]


class _Bounded(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SessionMessage(_Bounded):
    """One message of a column. failed: the content ends with why there is no whole answer."""

    role: Literal["user", "assistant"]
    content: str = Field(max_length=1_000_000)
    failed: bool = False


class SessionColumn(_Bounded):
    """name: the base, an adapter's run or folder, or the other server. title: as it was shown.

    strength and layers_off: how the adapter was used for the newest answer. template_mismatch:
    what was wrong with its chat template on this base, as a sentence without its subject.
    """

    name: str = Field(max_length=1000)
    title: str = Field(max_length=1000)
    strength: float = Field(1.0, ge=0.0, le=MAX_STRENGTH)
    layers_off: tuple[Layer, ...] = Field((), max_length=MAX_LAYER + 1)
    template_mismatch: str = Field("", max_length=1000)
    turns: tuple[SessionMessage, ...] = Field(max_length=2000)

    @property
    def use(self) -> AdapterSettings:
        return AdapterSettings(self.strength, frozenset(self.layers_off))


class SessionServer(_Bounded):
    """The other server of a session, without its key."""

    url: str = Field(max_length=MAX_URL)
    model: str = Field(max_length=MAX_MODEL)


class Session(_Bounded):
    """One comparison, whole. memory: whose answers every column goes on from.

    mode: how every column was asked; a chat in files from before there was a choice.
    revision: how often it had been saved, this time included.
    """

    version: Literal[1] = VERSION
    base: str = Field(max_length=1000)
    base_fingerprint: str = Field(max_length=100)
    mode: Literal["chat", "completion"] = "chat"
    system: str = Field("", max_length=400_000)
    memory: Literal["own", "base", "adapter"] = "own"
    sampling: Sampling = Sampling()
    columns: tuple[SessionColumn, ...] = Field(min_length=1, max_length=MAX_COLUMNS)
    server: SessionServer | None = None
    revision: int = Field(0, ge=0, le=MAX_REVISION)

    def as_json(self) -> str:
        return self.model_dump_json(indent=1)
