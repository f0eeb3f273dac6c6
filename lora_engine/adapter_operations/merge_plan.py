"""Which tensors of a base model an adapter changes, and how: every part of the adapter has a place.

Decided before anything is written. A part that no tensor of the base can take up is refused by its
name. An embedding and a head that are one weight in the base become two where the adapter changes
one of them: PEFT applies it to that one alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from lora_engine.adapter_operations.merge_pieces import FusedPieces, fused_update, whole_values
from lora_engine.adapter_operations.merged_tensors import (
    AddedPiece,
    AddedProduct,
    AddedVector,
    Change,
    Dora,
    MergedTensor,
    Replaced,
    ReplacedPiece,
    check_shapes_fit,
    written_dtype,
)
from lora_engine.adapter_operations.stored_weights import StoredWeights, stored_rows
from lora_engine.adapters.check import AdapterCheck
from lora_engine.adapters.config import WEIGHTS_FILE
from lora_engine.base_models.stored_names import ModelNames
from lora_engine.errors import EngineError
from lora_engine.language import tr, translatable
from lora_engine.spectrum import Adapter, AdapterModule
from lora_engine.weights.safetensors_file import scan

OTHER_BASE = translatable("Choose the base model that this adapter was trained on.")


@dataclass(frozen=True)
class MergePlan:
    """The tensors to write, in the base's order, and what the configuration has to say of them.

    untied: whether embedding and head are two weights now and were one in the base.
    """

    tensors: tuple[MergedTensor, ...]
    untied: bool
    changed: tuple[str, ...]


def plan_merge(
    adapter: Adapter,
    check: AdapterCheck,
    weights: StoredWeights,
    names: ModelNames,
    dtype: str | None,
    quantized_dtype: str,
) -> MergePlan:
    """Give every part of the adapter its place.

    dtype: the code that all numbers are written in, None for as they are stored; quantized weights
    become `quantized_dtype` then.
    Raises EngineError for a part that has no place in the base, or another shape than its place.
    """
    changes = _Changes(weights, names)
    changes.add_whole(check)
    fused: dict[str, list[AdapterModule]] = {}
    parameters = {full: full.rpartition(".") for full in check.keys.parameters.values()}
    for module in adapter.modules:
        parameter = _parameter_of(module, parameters)
        if parameter is None:
            changes.add_module(module)
        else:
            fused.setdefault(parameter, []).append(module)
    for parameter, experts in fused.items():
        changes.add_fused(parameter, experts)
    _refuse_tied_adapters(adapter, changes)
    untied = changes.untied
    tensors = [
        MergedTensor(
            name=tensor.name,
            source=tensor.name,
            weights=weights,
            dtype=_dtype(weights, tensor.name, dtype, quantized_dtype),
            changes=tuple(changes.of_stored.get(tensor.name, ())),
        )
        for tensor in weights.tensors.values()
    ]
    for name, (source, own) in changes.new.items():
        code = _dtype(weights, source, dtype, quantized_dtype)
        tensors.append(MergedTensor(name, source, weights, code, tuple(own)))
    changed = tuple(tensor.name for tensor in tensors if tensor.changes)
    return MergePlan(tuple(tensors), untied, changed)


@dataclass
class _Changes:
    """Collects changes by the names of the files' tensors.

    new: tensors that the files do not have, by name: what they are made from, and their changes.
    """

    weights: StoredWeights
    names: ModelNames
    of_stored: dict[str, list[Change]] = field(default_factory=dict)
    new: dict[str, tuple[str, list[Change]]] = field(default_factory=dict)
    untied: bool = False

    def add_module(self, module: AdapterModule) -> None:
        """A linear layer, a Conv1D, an embedding, with what trained beside its factors."""
        parameter = f"{module.name}.weight"
        if self.names.is_converted(parameter):
            self.add_fused(parameter, [module])
            return
        stored = self._place_of(parameter)
        transposed = self._is_transposed(module)
        shape = module.shape[::-1] if transposed else module.shape
        check_shapes_fit(stored, shape, self._shape_of(stored))
        if module.magnitude is None:
            self._add(stored, AddedProduct.of(module, transposed))
        else:
            base = self.weights.matrix(self._source_of(stored))
            self._add(stored, Dora(module, base, transposed))
        if module.bias is not None:
            self._add_bias(module)

    def add_whole(self, check: AdapterCheck) -> None:
        """Modules saved whole and trained biases, in the place of the base's."""
        file = scan(check.path / WEIGHTS_FILE)
        for parameter, key in {**check.keys.whole, **check.keys.biases}.items():
            entry = file.entry(key)
            if self.names.is_converted(parameter):
                self._add_pieces(
                    parameter, entry.shape, partial(whole_values, file, key), replace=True
                )
                continue
            stored = self._place_of(parameter)
            check_shapes_fit(stored, entry.shape, self._shape_of(stored))
            self._add(stored, Replaced(stored_rows(file, key)))

    def add_fused(self, parameter: str, modules: list[AdapterModule]) -> None:
        """The experts of a fused weight, in their order, or a weight that is laid out otherwise."""
        if any(module.magnitude is not None or module.bias is not None for module in modules):
            raise EngineError(
                tr(
                    "The adapter has DoRA or a bias on {parameter}, which the base model's "
                    "files hold in pieces; its merge is not known.",
                    parameter=parameter,
                ),
                tr("Answer with the adapter beside its base instead."),
            )
        if parameter not in self.names.parameters:
            raise _no_such(parameter)
        shape = self.names.shape(parameter)
        swapped = self._is_swapped(parameter, modules[0])
        self._add_pieces(
            parameter, shape, partial(fused_update, modules, swapped, shape), replace=False
        )

    def _add_pieces(
        self,
        parameter: str,
        shape: tuple[int, ...],
        values: Callable[[], np.ndarray],
        replace: bool,
    ) -> None:
        import torch

        check_shapes_fit(parameter, shape, self.names.shape(parameter))
        pieces = FusedPieces(self.names, parameter, values)
        for stored, piece in self._pieces_of(parameter, torch.empty(shape, device="meta")).items():
            check_shapes_fit(stored, tuple(piece.shape), self._shape_of(stored))
            self._add(stored, (ReplacedPiece if replace else AddedPiece)(pieces, stored))

    def _pieces_of(self, parameter: str, values):
        direct = self.names.stored_name(parameter)
        if direct is not None and not self.names.is_converted(parameter):
            return {direct: values}
        return self.names.in_pieces(parameter, values)

    def _add_bias(self, module: AdapterModule) -> None:
        """lora_bias: b of lora_B, scaled, onto the layer's own bias."""
        parameter = f"{module.name}.bias"
        stored = self.names.stored_name(parameter)
        if stored is None:
            raise EngineError(
                tr(
                    "The adapter trained a bias of lora_B on {name}, and this layer of the "
                    "base model has no bias that could take it up.",
                    name=module.name,
                ),
                tr("Answer with the adapter beside its base, or train without lora_bias."),
            )
        assert module.bias is not None
        self._add(stored, AddedVector(module.scaling * module.bias.astype(np.float64)))

    def _add(self, stored: str, change: Change) -> None:
        if stored in self.new:
            self.new[stored][1].append(change)
        else:
            self.of_stored.setdefault(stored, []).append(change)

    def _place_of(self, parameter: str) -> str:
        """The tensor to change. A tied pair becomes two tensors first."""
        tied = self.names.tied
        if tied is not None and parameter in tied:
            self._untie(*tied)
        if parameter in self.new:
            return parameter
        stored = self.names.stored_name(parameter)
        if stored is None:
            raise _no_such(parameter)
        return stored

    def _untie(self, embedding: str, head: str) -> None:
        """Let the head be a tensor of its own, a copy of the embedding until it is changed."""
        if self.untied:
            return
        self.untied = True
        stored = {name: self.names.stored_name(name) for name in (embedding, head)}
        for name, other in ((embedding, head), (head, embedding)):
            source = stored[other]
            if stored[name] is None and source is not None:
                self.new[name] = source, []

    def _source_of(self, stored: str) -> str:
        return self.new[stored][0] if stored in self.new else stored

    def _shape_of(self, stored: str) -> tuple[int, ...]:
        return self.weights.tensors[self._source_of(stored)].shape

    def _is_transposed(self, module: AdapterModule) -> bool:
        """Whether the layer stores its weight (in, out)."""
        from torch import nn
        from transformers.pytorch_utils import Conv1D

        try:
            return isinstance(self.names.module(module.name), Conv1D | nn.Embedding)
        except AttributeError:  # experts one by one, which the model in memory keeps fused
            return False

    def _is_swapped(self, parameter: str, module: AdapterModule) -> bool:
        """Whether a weight in pieces is laid out (in, out), as PEFT's ParamWrapper decides it."""
        shape = self.names.shape(parameter)
        if len(shape) == 2 or shape[-2] != shape[-1]:
            return shape[-2:] != module.shape and shape[-2:] == module.shape[::-1]
        holder = self.names.module(parameter.rpartition(".")[0])
        return bool(getattr(holder, "is_transposed", False))


def _parameter_of(
    module: AdapterModule, parameters: Mapping[str, tuple[str, str, str]]
) -> str | None:
    """The fused parameter that a module is an expert of; None for a module with a weight."""
    if module.name in parameters:
        return module.name
    if module.kind != "expert":
        return None
    holder, _, parameter = module.name.rpartition(".")
    return f"{holder.rpartition('.')[0]}.{parameter}"


def _refuse_tied_adapters(adapter: Adapter, changes: _Changes) -> None:
    if changes.untied and adapter.config.switched_on(("ensure_weight_tying",)):
        raise EngineError(
            tr(
                "{name} was trained with ensure_weight_tying: one update for embedding and "
                "head together, which is not merged here.",
                name=adapter.path.name,
            ),
            tr("Merge it with PEFT (merge_and_unload)."),
        )


def _dtype(weights: StoredWeights, name: str, asked: str | None, default: str) -> str:
    tensor = weights.tensors[name]
    if not tensor.is_number:
        assert tensor.dtype is not None
        return tensor.dtype
    return written_dtype(tensor.dtype, asked, default)


def _no_such(parameter: str) -> EngineError:
    return EngineError(
        tr(
            "The adapter changes {parameter}, which the base model does not have.",
            parameter=parameter,
        ),
        tr(OTHER_BASE),
    )
