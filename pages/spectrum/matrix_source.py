"""Which matrix a person chose: a sample, typed numbers, a file, a weight, an adapter's update.

A `MatrixChoice` is small and can stand in an address; `open_choice` opens the matrix it names.
A few typed numbers stand in the address themselves. A longer text or an upload stands there by the
id of the opened matrix, which cannot be guessed and lives as long as the server keeps the matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import gradio as gr

from lora_engine.base_models import STARTER, resolve_base_model
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spectrum import SAMPLES, read_adapter, sample, update_matrix
from lora_engine.starter import MODEL_DIR
from lora_engine.weights import (
    Flatten,
    MatrixSource,
    TensorInfo,
    WithoutMean,
    describe_shape,
    flattenings,
    list_tensors,
    open_matrix,
    parse_matrix,
)
from pages.shared import layout

START_SAMPLE = "picture"
START_K = {"teaching": 2, "low-rank-plus-noise": 8, "hilbert": 4, "picture": 20}
STARTER_WEIGHT = "starter-weight"
MAX_TENSORS_LISTED = 2000
MOST_IN_ADDRESS = 400  # characters of typed numbers
MatrixKind = Literal["sample", "text", "file", "model", "update", "opened"]
IN_ADDRESS: dict[MatrixKind, str] = {"text": "numbers", "opened": "opened"}
STATE = ("update", "module", "model", "tensor", "flatten", "numbers", "opened", "sample", "mean")


@dataclass(frozen=True)
class MatrixChoice:
    """A matrix by where it comes from.

    sample: `name` is one of the samples. text: `name` is the numbers. file: `name` is the path
    of an upload. model: `name` is a base model. update: `name` is an adapter, `tensor` one of its
    modules. opened: `name` is the id of a matrix in the cache. tensor and flatten: which part of
    a file or model, and how a tensor of three or more dimensions is laid out. without_mean: the
    mean of its entries is subtracted.
    """

    kind: MatrixKind
    name: str
    tensor: str = ""
    flatten: str = ""
    without_mean: bool = False

    def state(self, opened: str) -> dict[str, str]:
        """What the page's address says for this matrix, besides k. opened: its id in the cache."""
        if self.kind in ("file", "opened") and self.without_mean:
            return {"opened": opened}
        return self._named(opened) | ({"mean": "without"} if self.without_mean else {})

    def _named(self, opened: str) -> dict[str, str]:
        if self.kind == "sample":
            return {"sample": self.name}
        if self.kind == "model":
            state = {"model": self.name, "tensor": self.tensor}
            return state | ({"flatten": self.flatten} if self.flatten else {})
        if self.kind == "update":
            return {"update": self.name, "module": self.tensor}
        if self.kind == "text" and len(self.name) <= MOST_IN_ADDRESS:
            return {"numbers": self.name}
        return {"opened": opened}


def tab_in_address(request: gr.Request) -> str:
    """The id of the tab that the page's address asks for."""
    keys = (("adapter", "adapter"), ("a", "pair"), ("tuned", "checkpoints"))
    named = [tab for key, tab in keys if layout.state_of(request, key)]
    return named[0] if named else "matrix"


def choice_in_address(request: gr.Request) -> MatrixChoice:
    """The matrix that the page's address names, else the one the page opens on."""
    return choice_of({name: layout.state_of(request, name) for name in STATE})


def choice_of(state: Mapping[str, str]) -> MatrixChoice:
    """The matrix of a state as an address or the view has it; the opening one where it is empty."""
    chosen = _named_in(state)
    return replace(chosen, without_mean=state.get("mean") == "without")


def _named_in(state: Mapping[str, str]) -> MatrixChoice:
    if state.get("update"):
        return MatrixChoice("update", state["update"], state.get("module", ""))
    if state.get("model"):
        tensor, flatten = state.get("tensor", ""), state.get("flatten", "")
        return MatrixChoice("model", state["model"], tensor, flatten)
    for kind, key in IN_ADDRESS.items():
        if state.get(key):
            return MatrixChoice(kind, state[key])
    return MatrixChoice("sample", state.get("sample") or START_SAMPLE)


def sample_choices() -> list[tuple[str, str]]:
    """Title and name of each sample, for a choice; the last is a weight of the starter."""
    samples = [(tr(item.title), item.name) for item in SAMPLES]
    return [*samples, (tr("Starter weight"), STARTER_WEIGHT)]


def sample_by_name(name: str) -> MatrixChoice:
    """The matrix that a name in `sample_choices` stands for."""
    if name != STARTER_WEIGHT:
        return MatrixChoice("sample", name)
    names = [info.name for info in matrices_of(str(MODEL_DIR)) if "layers.0." in info.name]
    return MatrixChoice("model", STARTER, next(iter(names), ""))


def open_choice(engine: Engine, choice: MatrixChoice) -> MatrixSource:
    """Open the matrix. Raises EngineError where it is missing or is no matrix."""
    opened = _open_whole(engine, choice)
    return WithoutMean(opened) if choice.without_mean else opened


def _open_whole(engine: Engine, choice: MatrixChoice) -> MatrixSource:
    if choice.kind == "sample":
        return sample(choice.name).matrix()
    if choice.kind == "text":
        return parse_matrix(choice.name)
    if choice.kind == "update":
        adapter = engine.adapters.get(choice.name)
        return update_matrix(adapter.name, read_adapter(adapter.path).module(choice.tensor))
    path = model_folder(engine, choice.name) if choice.kind == "model" else choice.name
    flatten = Flatten.parse(choice.flatten) if choice.flatten else None
    return open_matrix(path, choice.tensor or None, flatten)


def model_folder(engine: Engine, name: str) -> str:
    """The folder of a local base model. Raises EngineError where its weights are not here."""
    model = resolve_base_model(name, engine.settings)
    if model.path is None:
        raise EngineError(
            tr("The weights of {name} are not on this machine.", name=repr(name)),
            tr("Choose a model that is, or give its folder."),
        )
    return str(model.path)


def matrices_of(path: str) -> list[TensorInfo]:
    """The tensors of a file or model folder that are a matrix or can be laid out as one.

    Raises EngineError where there is none.
    """
    found = [info for info in list_tensors(path) if len(info.shape) >= 2]
    if not found:
        open_matrix(path)  # raises an error that names what is there instead
    return found[:MAX_TENSORS_LISTED]


def tensor_choices(tensors: list[TensorInfo]) -> list[tuple[str, str]]:
    """The tensors for a dropdown: name with shape and type, and the name alone."""
    return [
        (f"{info.name}  ({describe_shape(info.shape)}, {info.dtype})", info.name)
        for info in tensors
    ]


def flatten_choices(info: TensorInfo) -> list[tuple[str, str]]:
    """The ways to lay this tensor out as a matrix, for a dropdown; empty where it is one."""
    words = flattenings(info.shape)
    first_slice = ",".join("0" for _ in info.shape[:-2])
    return list(zip(words, ("first", "last", first_slice), strict=False))
