"""The folder that an operation writes: new, or replacing one of its own kind, whole or not there.

Knows nothing of what is written into it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lora_engine.errors import Conflict, EngineError
from lora_engine.files import BeingWritten, atomic_folder, given_path
from lora_engine.language import tr


@contextmanager
def output_folder(output: Path, mark: str, overwrite: bool) -> Iterator[Path]:
    """An empty folder to fill, which becomes `output` when the block ends without an error.

    mark: a file that tells a folder of this kind, such as adapter_config.json; `overwrite`
    replaces only a folder that has it, or an empty one.
    Raises Conflict for an output that exists and is not to be replaced, and for one that another
    is writing; EngineError naming the folder where the disk refuses. `output` is then as it was.
    """
    output = Path(os.path.abspath(given_path(output)))
    refuse_existing(output, mark, overwrite)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with atomic_folder(output) as staging:
            yield staging
            refuse_existing(output, mark, overwrite)  # it may have come meanwhile
    except BeingWritten:
        raise Conflict(
            tr("{output} is being written by another at this moment.", output=output),
            tr("Wait until that is done, or choose another name."),
        ) from None
    except OSError as error:
        raise refused(output, error) from error


def refused(output: Path, error: OSError) -> EngineError:
    """What is said of an output that the disk refused."""
    # NumPy's own error for a full disk has no number, and says how much of it was written.
    reason = error.strerror or tr("the disk took only a part of it ({error})", error=error)
    return EngineError(
        tr(
            "{output} could not be written: {reason}. Nothing was left there.",
            output=output,
            reason=reason,
        ),
        tr("Free space on that disk, or choose another folder for the output."),
    )


def refuse_existing(output: Path, mark: str, overwrite: bool) -> None:
    """Raises Conflict where `output` exists and is not to be replaced."""
    if not output.exists() and not output.is_symlink():
        return
    if not overwrite:
        raise Conflict(
            tr("{output} exists already.", output=output),
            tr("Choose another name, or say that it is to be replaced."),
        )
    ours = output.is_dir() and not output.is_symlink()
    if not ours or not ((output / mark).is_file() or not any(output.iterdir())):
        raise Conflict(
            tr(
                "{output} holds something else: no folder with {mark} in it.",
                output=output,
                mark=mark,
            ),
            tr("Choose another name; only an earlier output is replaced."),
        )
