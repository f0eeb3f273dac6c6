"""Under which names a model's parameters lie in its files: transformers renames, splits and joins.

An adapter names the modules of the model in memory. The files may leave out its first part
(`model.`, `transformer.`), have older names, or hold the experts one by one that the model keeps
fused. The model is built without weights (on the meta device) and transformers' own conversion is
run backwards on names, or on an update. Knows nothing of adapters.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lora_engine.base_models.find import BaseModel
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.library_imports import import_transformers

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel


class ModelNames:
    """The parameters of a causal language model by name, and their names in its files.

    stored: the names that the files hold.
    """

    def __init__(self, model: PreTrainedModel, stored: Collection[str]) -> None:
        self._model = model
        self._stored = stored
        self.parameters: Mapping[str, torch.Tensor] = dict(
            model.named_parameters(remove_duplicate=False)
        )

    @classmethod
    def of(cls, base: BaseModel, stored: Collection[str]) -> ModelNames:
        """Build the model of a base without weights. Raises EngineError where that fails."""
        import_transformers()
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        try:
            config = AutoConfig.from_pretrained(
                base.source, trust_remote_code=False, local_files_only=True
            )
            if hasattr(config, "quantization_config"):
                del config.quantization_config
            with torch.device("meta"):
                model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        except (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
            raise EngineError(
                tr(
                    "The model of {name} cannot be built from its config.json: {split}",
                    name=f"{base.name!r}",
                    split=" ".join(str(error).split())[:300],
                ),
                tr("Take the config.json that came with the weights."),
            ) from error
        model.tie_weights()
        return cls(model, stored)

    def shape(self, parameter: str) -> tuple[int, ...]:
        return tuple(self.parameters[parameter].shape)

    def module(self, name: str) -> nn.Module:
        return self._model.get_submodule(name)

    @cached_property
    def tied(self) -> tuple[str, str] | None:
        """The weights of embedding and head where these are one, by name; None where they are not.

        The head of such a model is not stored, or stored once more.
        """
        embedding, head = self._model.get_input_embeddings(), self._model.get_output_embeddings()
        names = {id(module): name for name, module in self._model.named_modules()}
        if head is None or id(head) not in names or id(embedding) not in names:
            return None
        pair = (f"{names[id(embedding)]}.weight", f"{names[id(head)]}.weight")
        shared = all(name in self.parameters for name in pair)
        same = shared and self.parameters[pair[0]] is self.parameters[pair[1]]
        return pair if same else None

    def is_converted(self, parameter: str) -> bool:
        """Whether the files hold the parameter in other pieces, or laid out otherwise."""
        from transformers.core_model_loading import apply_converters

        if parameter in self._stored:
            return False
        _, renamers = self._conversions
        return apply_converters(parameter, renamers)[1] is not None

    def stored_name(self, parameter: str) -> str | None:
        """The name of a parameter that is not converted; None where the files do not hold it."""
        from transformers.core_model_loading import apply_renamings

        renamings, _ = self._conversions
        return self._find(parameter) or self._find(apply_renamings(parameter, renamings))

    def in_pieces(self, parameter: str, values: torch.Tensor) -> dict[str, torch.Tensor]:
        """Numbers laid out as the parameter is in memory, by the names of the files' tensors.

        For numbers that conversion only moves, such as weights and updates of weights.
        Raises EngineError where the files do not hold all of the pieces.
        """
        from transformers.core_model_loading import revert_weight_conversion

        found = {}
        for name, piece in revert_weight_conversion(self._model, {parameter: values}).items():
            stored = self._find(name)
            if stored is None:
                raise EngineError(
                    tr(
                        "{parameter} is made of tensors such as {name}, which the base "
                        "model's files do not hold.",
                        parameter=parameter,
                        name=name,
                    ),
                    tr("Choose the base model that this adapter was trained on."),
                )
            found[stored] = piece
        return found

    def _find(self, name: str) -> str | None:
        """The name as the files have it: with or without the name of the model inside the head."""
        prefix = f"{self._model.base_model_prefix}."
        for candidate in (name, name.removeprefix(prefix), prefix + name):
            if candidate in self._stored:
                return candidate
        return None

    @cached_property
    def _conversions(self) -> tuple[list[Any], list[Any]]:
        """transformers' renamings and conversions from memory to file, in their order."""
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import PrefixChange, WeightConverter, WeightRenaming

        forward = get_model_conversion_mapping(self._model, add_legacy=False)
        kept = [one for one in forward if not isinstance(one, PrefixChange)]
        backward = [one.reverse_transform() for one in kept[::-1]]
        return (
            [one for one in backward if isinstance(one, WeightRenaming)],
            [one for one in backward if isinstance(one, WeightConverter)],
        )
