"""Which matrix a person wants to see: a sample, typed numbers, a file, a weight, an update.

A `Wanted` is small and can stand in an address; `open_wanted` finds the matrix it means. Typed
numbers and uploads cannot be linked to: they are this tab's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import gradio as gr

from lora_engine.base_models import STARTER, resolve_base_model
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.spectrum import SAMPLES, read_adapter, sample, update_matrix
from lora_engine.starter import MODEL_DIR
from lora_engine.weights import Flatten, MatrixSource, list_tensors, open_matrix, parse_matrix
from lora_engine.weights.matrix import TensorInfo, describe_shape, flattenings
from pages.shared import layout

START_SAMPLE = "picture"
START_K = {"teaching": 2, "low-rank-plus-noise": 8, "hilbert": 4, "picture": 20}
STARTER_WEIGHT = "starter-weight"
MAX_TENSORS_LISTED = 2000


@dataclass(frozen=True)
class Wanted:
    """A matrix by where it comes from.

    sample: `name` is one of the samples. text: `name` is the numbers. file: `name` is the path
    of an upload. model: `name` is a base model. tensor and flatten: which part of a file or
    model, and how a tensor of three or more dimensions is laid out.
    """

    kind: Literal["sample", "text", "file", "model", "update"]
    name: str
    tensor: str = ""
    flatten: str = ""

    def state(self) -> dict[str, str]:
        """What the page's address says for this matrix, besides k."""
        if self.kind == "sample":
            return {"sample": self.name}
        if self.kind == "model":
            state = {"model": self.name, "tensor": self.tensor}
            return state | ({"flatten": self.flatten} if self.flatten else {})
        if self.kind == "update":
            return {"update": self.name, "module": self.tensor}
        return {}


def tab_of(request: gr.Request) -> str:
    """The tab that the page's address speaks of."""
    keys = (("adapter", "adapter"), ("a", "pair"), ("tuned", "checkpoints"))
    named = [tab for key, tab in keys if layout.state_of(request, key)]
    return named[0] if named else "matrix"


def wanted_from(request: gr.Request) -> Wanted:
    """The matrix that the page's address names, else the one the page opens on."""
    update = layout.state_of(request, "update")
    if update:
        return Wanted("update", update, layout.state_of(request, "module"))
    model = layout.state_of(request, "model")
    if model:
        tensor = layout.state_of(request, "tensor")
        return Wanted("model", model, tensor, layout.state_of(request, "flatten"))
    return Wanted("sample", layout.state_of(request, "sample", START_SAMPLE))


def sample_choices() -> list[tuple[str, str]]:
    """For a choice of samples: title and name; the last is a weight of the starter."""
    return [*((item.title, item.name) for item in SAMPLES), ("Starter weight", STARTER_WEIGHT)]


def wanted_sample(name: str) -> Wanted:
    """The matrix behind a choice of `sample_choices`."""
    if name != STARTER_WEIGHT:
        return Wanted("sample", name)
    names = [info.name for info in matrices_of(str(MODEL_DIR)) if "layers.0." in info.name]
    return Wanted("model", STARTER, next(iter(names), ""))


def open_wanted(engine: Engine, wanted: Wanted) -> MatrixSource:
    """The matrix itself. Raises EngineError where it is not there or not a matrix."""
    if wanted.kind == "sample":
        return sample(wanted.name).matrix()
    if wanted.kind == "text":
        return parse_matrix(wanted.name)
    if wanted.kind == "update":
        adapter = engine.adapters.get(wanted.name)
        return update_matrix(adapter.name, read_adapter(adapter.path).module(wanted.tensor))
    path = model_folder(engine, wanted.name) if wanted.kind == "model" else wanted.name
    flatten = Flatten.parse(wanted.flatten) if wanted.flatten else None
    return open_matrix(path, wanted.tensor or None, flatten)


def model_folder(engine: Engine, name: str) -> str:
    """The folder of a local base model. Raises EngineError for one that is not here."""
    model = resolve_base_model(name, engine.settings)
    if model.path is None:
        raise EngineError(
            f"The weights of {name!r} are not on this machine.",
            "Choose a model that is, or give its folder.",
        )
    return str(model.path)


def matrices_of(path: str) -> list[TensorInfo]:
    """The tensors of a file or model folder that are, or can be laid out as, a matrix.

    Raises EngineError where there is none.
    """
    found = [info for info in list_tensors(path) if len(info.shape) >= 2]
    if not found:
        open_matrix(path)  # says what is there instead
    return found[:MAX_TENSORS_LISTED]


def tensor_choices(tensors: list[TensorInfo]) -> list[tuple[str, str]]:
    """For a dropdown: name with shape and type, and the name."""
    return [
        (f"{info.name}  ({describe_shape(info.shape)}, {info.dtype})", info.name)
        for info in tensors
    ]


def flatten_choices(info: TensorInfo) -> list[tuple[str, str]]:
    """For a dropdown: the ways this tensor becomes a matrix; empty where it is one."""
    words = flattenings(info.shape)
    first_slice = ",".join("0" for _ in info.shape[:-2])
    return list(zip(words, ("first", "last", first_slice), strict=False))
