"""What every part of the spec has in common: strict checking, and the form of names in it.

The parts are made of fields alone. Forms, the command line and the documentation are made from
them: `title` is the label, `description` the help, `ge` and `le` the bounds.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from lora_engine.language import tr
from lora_engine.names import is_seen_whole

MODULE_NAME = r"^[A-Za-z0-9_.\-]{1,200}$"
ModuleName = Annotated[str, StringConstraints(pattern=MODULE_NAME)]


def _printable(value: str) -> str:
    if not is_seen_whole(value):
        raise ValueError(tr("only printable characters, and not only spaces"))
    return value.strip()


PrintableName = Annotated[str, AfterValidator(_printable)]
"""What a person calls something, on one line, without spaces around it."""


class Section(BaseModel):
    """A part of the spec. Unknown keys are refused, no type is guessed, nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
