"""What every part of the spec has in common: strict checking, and the form of names in it.

The parts are made of fields alone. Forms, the command line and the documentation are made from
them: `title` is the label, `description` the help, `ge` and `le` the bounds.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

MODULE_NAME = r"^[A-Za-z0-9_.\-]{1,200}$"
ModuleName = Annotated[str, StringConstraints(pattern=MODULE_NAME)]


class Section(BaseModel):
    """A part of the spec. Unknown keys are refused, no type is guessed, nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
