"""A PNG or JPEG picture as a matrix: grey, or one of its three channels, 0 to 255."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.weights import limits
from lora_engine.weights.matrix import ArrayMatrix, TensorInfo
from lora_engine.weights.safetensors_file import no_such_tensor

if TYPE_CHECKING:
    from PIL.Image import Image

CHANNELS = ("grey", "red", "green", "blue")


def list_picture(path: Path) -> tuple[TensorInfo, ...]:
    """The matrices a picture offers, from its header alone."""
    with _opened(path) as image:
        width, height = image.size
    return tuple(TensorInfo(channel, (height, width), "uint8") for channel in CHANNELS)


def open_picture(path: Path, channel: str = "grey") -> ArrayMatrix:
    """One channel of a picture, (height, width) float32. Its size is checked before decoding."""
    if channel not in CHANNELS:
        raise no_such_tensor(path.name, channel, CHANNELS)
    with _opened(path) as image:
        transparent = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
        if channel == "grey" and image.mode.startswith("I"):
            values, dtype = np.asarray(image, dtype=np.float32), "uint16"
        else:
            wanted = image.convert("RGB")
            band = (
                wanted.convert("L") if channel == "grey" else wanted.getchannel(channel[0].upper())
            )
            values, dtype = np.asarray(band, dtype=np.float32), "uint8"
    notes = (tr("The picture's transparency was left out."),) if transparent else ()
    return ArrayMatrix(values, f"{path.name} ({channel})", dtype, notes)


@contextmanager
def _opened(path: Path) -> Iterator[Image]:
    """The picture with only its header read; decoding errors become errors for the person."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            width, height = image.size
            if width * height > limits.MAX_PIXELS:
                raise _too_large(path, f"{width:,} x {height:,}")
            yield image
    except Image.DecompressionBombError:
        raise _too_large(path, "far too many") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        cut = "truncated" in str(error).lower()
        why = "it breaks off before its end" if cut else "its content is damaged"
        raise EngineError(
            tr("The picture {name} cannot be decoded: {why}.", name=path.name, why=why),
            tr("Get it again from its source, or save it again as PNG or JPEG."),
        ) from None


def _too_large(path: Path, found: str) -> EngineError:
    return EngineError(
        tr(
            "The picture {name} has {found} pixels; at most {max_pixels} are allowed.",
            name=path.name,
            found=found,
            max_pixels=f"{limits.MAX_PIXELS:,}",
        ),
        tr("Make it smaller first."),
    )
