"""Several adapters on one base model, each applied to its own rows of a batch.

Plain LoRA on linear layers is computed by `MixedLoraLayer`, any number of adapters in one batch.
DoRA, embeddings, fused experts and modules trained whole go through PEFT's forward, alone in a pass
of their own: PEFT refuses them in mixed batches. Trained biases of the base stand in their places
during that pass only. Other methods than LoRA (`other_methods`) have passes of their own too.
Nothing here is thread-safe: the owner holds a lock.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from lora_engine.adapters.check import AdapterCheck
from lora_engine.adapters.config import WEIGHTS_FILE
from lora_engine.adapters.other_check import OtherCheck
from lora_engine.adapters.weights_keys import PREFIX
from lora_engine.compare.generate.adapter_refusals import (
    does_not_fit,
    not_whole,
    refuse_untargeted,
)
from lora_engine.compare.generate.mixed_lora_layer import AdapterRows, MixedLoraLayer
from lora_engine.compare.generate.other_methods import (
    OtherMethod,
    injected_places,
    layer_number,
    put_on,
)
from lora_engine.errors import EngineError
from lora_engine.generation.virtual_tokens import VirtualTokens
from lora_engine.language import tr
from lora_engine.library_imports import import_peft
from lora_engine.weights.tensors_in_memory import tensors_in_memory

if TYPE_CHECKING:
    import torch
    from peft import LoraModel, PeftModel
    from torch import nn
    from transformers import PreTrainedModel


class AdapterSwitch:
    """The adapters injected into one model, and which rows they act on just now."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self._peft: PeftModel | None = None  # made with the first adapter
        self._layers: list[MixedLoraLayer] = []
        self._own_pass: set[str] = set()
        self._biases: dict[str, dict[str, torch.Tensor]] = {}  # by adapter, then by parameter
        self._parameters: dict[str, set[str]] = {}  # adapted parameters' names by adapter
        self._others: dict[str, OtherMethod] = {}  # adapters of other methods than LoRA

    def add(self, name: str, check: AdapterCheck | OtherCheck) -> None:
        """Put a checked adapter on. The base model's weights stay as they are, and shared.

        Raises EngineError where the adapter does not fit the model; nothing of it stays behind.
        """
        if isinstance(check, OtherCheck):
            with self.bare_base():
                self._others[name] = put_on(self.model, check)
        else:
            self._add_lora(name, check)

    def _add_lora(self, name: str, check: AdapterCheck) -> None:
        self._check_same_parameters(check)
        tensors = _read_tensors(check, str(next(self.model.parameters()).device))
        biases = self._biases_for(check, tensors)
        try:
            left_out = self._inject(name, check, tensors)
        except (ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
            self._discard(name)
            raise does_not_fit(check, str(error)) from error
        if left_out:
            self._discard(name)
            raise not_whole(check, left_out)
        self._injected().eval()
        self._tuner().disable_adapter_layers()
        self._wrap_new_layers()
        keys = check.keys
        self._biases[name] = biases
        self._parameters[name] = {full.rpartition(".")[2] for full in keys.parameters.values()}
        special = any(layer.is_special(name) for layer in self._layers)
        # A router gives an expert rows that no longer stand in the batch's order.
        routed = any(".experts." in module for module in check.modules)
        if special or routed or keys.whole or keys.parameters or biases:
            self._own_pass.add(name)

    def remove(self, name: str) -> None:
        """Take an adapter out again; its memory is free afterwards."""
        if self._others.pop(name, None) is not None:
            return
        self._injected().delete_adapter(name)
        self._own_pass.discard(name)
        self._biases.pop(name, None)
        self._parameters.pop(name, None)
        for layer in self._layers:
            layer.forget(name)
        self._unload_when_empty()

    def needs_own_pass(self, adapter: str | None) -> bool:
        """Whether this adapter must run alone; never for the base (None)."""
        return adapter in self._own_pass or adapter in self._others

    def virtual_tokens(self, adapter: str | None) -> VirtualTokens | None:
        """The trained tokens before every row of an adapter; None for one without, and the base."""
        other = None if adapter is None else self._others.get(adapter)
        return None if other is None else other.virtual

    def is_adjustable(self, adapter: str | None) -> bool:
        """Whether a strength, and leaving layers out, has a meaning for an adapter."""
        return adapter not in self._own_pass and self.virtual_tokens(adapter) is None

    @contextmanager
    def applied(self, rows: Sequence[AdapterRows]) -> Iterator[None]:
        """Within: the model's forward uses these adapters on these rows.

        An adapter that needs its own pass must be the only variant of the batch. Virtual tokens are
        not applied here: they stand in the cache that the forward is given.
        """
        adapter = rows[0].variant.adapter
        if adapter in self._others:
            with self._others[adapter].applied(rows[0].variant.settings):
                yield
            return
        if adapter is not None and self.needs_own_pass(adapter):
            with self._through_peft(adapter):
                yield
            return
        for layer in self._layers:
            layer.activate(rows)
        try:
            yield
        finally:
            for layer in self._layers:
                layer.activate(())

    @contextmanager
    def bare_base(self) -> Iterator[None]:
        """Within: the bare base model, every module that PEFT put in replaced by the original."""
        places = injected_places(self.model)
        try:
            for place in places:
                setattr(place.parent, place.name, place.original)
            yield
        finally:
            for place in places:
                setattr(place.parent, place.name, place.module)

    def _injected(self) -> PeftModel:
        assert self._peft is not None, "no adapter was injected yet"
        return self._peft

    def _tuner(self) -> LoraModel:
        return cast("LoraModel", self._injected().base_model)

    def _inject(
        self, name: str, check: AdapterCheck, tensors: dict[str, torch.Tensor]
    ) -> list[str]:
        """Inject and load. Returns the keys of this adapter that found no counterpart."""
        import torch

        import_peft()
        from peft import PeftModel, set_peft_model_state_dict
        from peft.tuners.tuners_utils import check_target_module_exists as targets

        keys = check.keys
        modules = [module for module in keys.factors if module not in keys.parameters]
        peft_config = check.config.to_peft(modules, list(keys.parameters.values()))
        refuse_untargeted(check, [m for m in modules if not targets(peft_config, m)])
        # New weights are made on the meta device, for the file's take their places. Not by PEFT's
        # own low_cpu_mem_usage: that patches torch for every thread, and a model that another
        # thread loads meanwhile would lose its weights.
        with warnings.catch_warnings(), torch.device("meta"):
            # PEFT warns of patterns of fused experts, which it does apply; the rest is checked.
            warnings.simplefilter("ignore")
            if self._peft is None:
                self._peft = PeftModel(self.model, peft_config, name)
            else:
                self._peft.add_adapter(name, peft_config)
        of_factors = (key for parts in keys.factors.values() for key in parts.values())
        state = {
            PREFIX + key.removeprefix(PREFIX): tensors[key]
            for key in (*of_factors, *keys.whole.values())
        }
        result: Any = set_peft_model_state_dict(self._peft, state, name, low_cpu_mem_usage=True)
        missing = [key for key in result.missing_keys if f".{name}." in f"{key}."]
        return [*missing, *result.unexpected_keys]

    def _biases_for(
        self, check: AdapterCheck, tensors: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """The adapter's biases by the base's parameters, in their type.

        Raises EngineError for one that this base does not have.
        """
        own = self._base_parameters() if check.keys.biases else {}
        missing = [name for name in check.keys.biases if name not in own]
        if missing:
            raise EngineError(
                tr(
                    "The adapter in {path} trained {missing}, which this base model does not have.",
                    path=check.path,
                    missing=missing[0],
                ),
                tr("Choose the base model that this adapter was trained on."),
            )
        return {name: tensors[key].to(own[name].dtype) for name, key in check.keys.biases.items()}

    def _base_parameters(self) -> dict[str, nn.Parameter]:
        """The base's parameters by their names before anything was injected."""
        found = {}
        for name, parameter in self.model.named_parameters():
            if ".lora_" not in name and ".modules_to_save." not in name:
                plain = name.replace(".base_layer.", ".").replace(".original_module.", ".")
                found[plain] = parameter
        return found

    def _discard(self, name: str) -> None:
        """Take out what a failed injection left: PEFT takes back its configuration alone."""
        from peft.tuners.tuners_utils import BaseTunerLayer
        from peft.utils.other import AuxiliaryTrainingWrapper

        if self._peft is not None and name in self._peft.peft_config:
            self._peft.delete_adapter(name)
        for module in self.model.modules():
            if isinstance(module, BaseTunerLayer):
                module.delete_adapter(name)
                module.enable_adapters(False)
            elif isinstance(module, AuxiliaryTrainingWrapper):
                module.delete_adapter(name, [])
                module.enable_adapters(False)
        self._unload_when_empty()

    def _unload_when_empty(self) -> None:
        """Put the original modules back: PEFT cannot go on from a model without an adapter."""
        if self._peft is not None and self._peft.peft_config:
            return
        for place in injected_places(self.model):
            setattr(place.parent, place.name, place.original)
        self._peft, self._layers = None, []

    def _check_same_parameters(self, check: AdapterCheck) -> None:
        """Raises EngineError where another adapter adapts other parameters (fused experts)."""
        ours = {name.rpartition(".")[2] for name in check.keys.parameters.values()}
        for theirs in self._parameters.values():
            if ours and theirs and ours != theirs:
                raise EngineError(
                    tr(
                        "The adapter in {path} adapts the experts' {ours}, and one that is "
                        "loaded adapts their {theirs}; PEFT takes the same parameters only.",
                        path=check.path,
                        ours=", ".join(sorted(ours)),
                        theirs=", ".join(sorted(theirs)),
                    ),
                    tr("Compare these two one at a time."),
                )

    @contextmanager
    def _through_peft(self, adapter: str) -> Iterator[None]:
        self._injected().set_adapter(adapter, inference_mode=True)
        self._tuner().enable_adapter_layers()
        for layer in self._layers:
            layer.left_to_peft = True
        replaced = self._put_in(self._biases[adapter])
        try:
            yield
        finally:
            self._put_in(replaced)
            self._tuner().disable_adapter_layers()
            for layer in self._layers:
                layer.left_to_peft = False

    def _put_in(self, biases: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Give the base these biases. Returns those that stood there."""
        own = self._base_parameters() if biases else {}
        before = {name: own[name].data for name in biases}
        for name, tensor in biases.items():
            own[name].data = tensor
        return before

    def _wrap_new_layers(self) -> None:
        from peft.tuners.lora import LoraLayer, ParamWrapper

        known = {id(layer.module) for layer in self._layers}
        for name, module in self.model.named_modules():
            if isinstance(module, ParamWrapper):
                continue  # its adapters have a pass of their own
            if isinstance(module, LoraLayer) and id(module) not in known:
                self._layers.append(MixedLoraLayer(module, layer_number(name)))


def _read_tensors(check: AdapterCheck, device: str) -> dict[str, torch.Tensor]:
    """The adapter's tensors, by their keys in the file."""
    return tensors_in_memory(check.path / WEIGHTS_FILE, device)
