"""Which modules of a base model an adapter leaves alone, and why.

Four kinds: those outside the language model (the towers of pictures and sound, and what projects
from them), which rows of text never reach; in state-space models those that PEFT refuses, and those
whose weight the model reads past the module; and linear layers that compute something of their own.
Asked by whoever resolves targets, on a loaded model or on one without weights.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_engine.language import tr, tr_count

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

# `_check_lora_target_modules_mamba` in PEFT 0.21: the kernel of these models reads the weights of
# these modules itself, so an adapter on them would compute nothing.
REFUSED_IN = frozenset(("falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"))
REFUSED_NAMES = frozenset(("out_proj", "conv1d"))
# PEFT takes these, and to no effect: the model multiplies by `dt_proj.weight` itself.
BYPASSED_IN = frozenset(("falcon_mamba", "jamba", "mamba"))
BYPASSED_NAMES = frozenset(("dt_proj",))
# Of the linear layers with a forward of their own those that still compute Wx + b. The others (the
# routers of Llama 4 and Phi-MoE answer with several tensors) end a step in PEFT's layer.
PLAIN_LINEAR = frozenset(("EsmFoldLinear", "FalconLinear"))


def is_refused(model: PreTrainedModel, path: str) -> bool:
    """Whether PEFT refuses an adapter on this module of a model with a state-space kernel."""
    return model_type_of(model) in REFUSED_IN and path.rpartition(".")[2] in REFUSED_NAMES


def is_bypassed(model: PreTrainedModel, path: str) -> bool:
    """Whether the model reads the weight of this module itself, so that an adapter does nothing."""
    return model_type_of(model) in BYPASSED_IN and path.rpartition(".")[2] in BYPASSED_NAMES


def computes_its_own(model: PreTrainedModel, path: str) -> bool:
    """Whether this is a linear layer of transformers that computes something else than Wx + b."""
    from torch import nn

    holder, _, name = path.rpartition(".")  # of fused experts the name is a parameter's
    kind = type(getattr(model.get_submodule(holder), name))
    return (
        issubclass(kind, nn.Linear)
        and kind.__module__.startswith("transformers.models.")
        and kind.forward is not nn.Linear.forward
        and kind.__name__ not in PLAIN_LINEAR
    )


def model_type_of(model: nn.Module) -> str:
    """The `model_type` of the model's configuration; empty without one."""
    return str(getattr(getattr(model, "config", None), "model_type", ""))


def language_model_path(model: PreTrainedModel) -> str | None:
    """Where the language model stands in a model that also sees or hears.

    None where the model is nothing but a language model, does not say, or writes no text at all:
    CLIP and its kin are trained on pairs of texts and pictures, which reach all of it.
    """
    sub_configs = getattr(getattr(model, "config", None), "sub_configs", {})
    if "text_config" not in sub_configs or not hasattr(model, "get_decoder"):
        return None
    if model.get_output_embeddings() is None:
        return None
    decoder = model.get_decoder()
    return next(
        (path for path, module in model.named_modules() if module is decoder and path), None
    )


def outside_language_model(model: PreTrainedModel, paths: Iterable[str]) -> list[str]:
    """Those of the paths that rows of text do not reach: their adapters get no gradient."""
    inner = language_model_path(model)
    if inner is None:
        return []
    head = model.get_output_embeddings()
    heads = {path for path, module in model.named_modules() if head is not None and module is head}
    return [path for path in paths if not f"{path}.".startswith(f"{inner}.") and path not in heads]


def left_out_of_all_linear(
    model: PreTrainedModel, paths: Iterable[str], text_only: bool = True
) -> list[str]:
    """Those of the paths that all-linear leaves out beyond the head, which PEFT leaves out.

    text_only: for a run on rows of text, which leaves out what such rows cannot train as well.
    """
    paths = list(paths)
    left = {path for path in paths if is_refused(model, path)}
    if text_only:
        left |= {p for p in paths if is_bypassed(model, p) or computes_its_own(model, p)}
        left |= set(outside_language_model(model, paths))
    return [path for path in paths if path in left]


def left_out_in_words(model: PreTrainedModel, paths: Iterable[str]) -> list[str]:
    """Why all-linear leaves out these modules, a sentence for each reason that applies."""
    why, model_type = _Reasons.of(model, paths), model_type_of(model)
    return _said(
        (
            why.outside,
            tr_count(
                "all-linear leaves out {count} module outside the language model ({parts}): rows "
                "of text never reach it.",
                "all-linear leaves out {count} modules outside the language model ({parts}): rows "
                "of text never reach them.",
                len(why.outside),
                parts=_parts(why.outside),
            ),
        ),
        (
            why.bypassed,
            tr(
                "all-linear leaves out {modules}: a {model_type} reads their weights itself, so an "
                "adapter on these modules would do nothing.",
                modules=", ".join(why.bypassed),
                model_type=model_type,
            ),
        ),
        (
            why.own,
            tr(
                "all-linear leaves out {modules}: these layers of a {model_type} compute more than "
                "a product, which PEFT cannot put an adapter on.",
                modules=", ".join(why.own),
                model_type=model_type,
            ),
        ),
        (
            why.refused,
            tr(
                "all-linear leaves out {modules}: PEFT takes no adapter on these modules of a "
                "{model_type}, whose kernel reads their weights itself.",
                modules=", ".join(why.refused),
                model_type=model_type,
            ),
        ),
    )


def left_out_of_runs_in_words(model: PreTrainedModel, paths: Iterable[str]) -> list[str]:
    """What is counted and no run on rows of text adapts; empty without any."""
    why, model_type = _Reasons.of(model, paths), model_type_of(model)
    return _said(
        (
            why.outside,
            tr_count(
                "Counted as PEFT's all-linear. A run on rows of text leaves out {count} module "
                "outside the language model ({parts}), which such rows never reach.",
                "Counted as PEFT's all-linear. A run on rows of text leaves out {count} modules "
                "outside the language model ({parts}), which such rows never reach.",
                len(why.outside),
                parts=_parts(why.outside),
            ),
        ),
        (
            why.bypassed,
            tr(
                "Counted as PEFT's all-linear. A run leaves out {modules}: a {model_type} reads "
                "their weights itself, so an adapter on these modules would do nothing.",
                modules=", ".join(why.bypassed),
                model_type=model_type,
            ),
        ),
        (
            why.own,
            tr(
                "Counted as PEFT's all-linear. A run leaves out {modules}: these layers of a "
                "{model_type} compute more than a product, which PEFT cannot put an adapter on.",
                modules=", ".join(why.own),
                model_type=model_type,
            ),
        ),
    )


def without_gradient_in_words(model: PreTrainedModel, paths: Iterable[str]) -> list[str]:
    """The warnings for adapted modules that rows of text cannot train; empty without any."""
    why = _Reasons.of(model, paths)
    return _said(
        (
            why.outside,
            tr_count(
                "{count} module outside the language model ({parts}) will get no gradient from "
                "rows of text, so the adapter does nothing there.",
                "{count} modules outside the language model ({parts}) will get no gradient from "
                "rows of text, so the adapter does nothing there.",
                len(why.outside),
                parts=_parts(why.outside),
            ),
        ),
        (
            why.bypassed,
            tr(
                "{modules} will get no gradient: a {model_type} reads their weights itself, so the "
                "adapter does nothing there.",
                modules=", ".join(why.bypassed),
                model_type=model_type_of(model),
            ),
        ),
    )


@dataclass(frozen=True)
class _Reasons:
    """Of some modules those with a reason not to be adapted: outside by path, the others by the
    last part of their names, each once."""

    outside: list[str]
    bypassed: list[str]
    own: list[str]
    refused: list[str]

    @classmethod
    def of(cls, model: PreTrainedModel, paths: Iterable[str]) -> _Reasons:
        paths = list(paths)
        outside = outside_language_model(model, paths)
        inside = [path for path in paths if path not in set(outside)]
        return cls(
            outside=outside,
            bypassed=_names(path for path in paths if is_bypassed(model, path)),
            own=_names(path for path in inside if computes_its_own(model, path)),
            refused=_names(path for path in paths if is_refused(model, path)),
        )


def _said(*reasons: tuple[list[str], str]) -> list[str]:
    """The sentences of the reasons that some module has."""
    return [sentence for modules, sentence in reasons if modules]


def _names(paths: Iterable[str]) -> list[str]:
    """The last part of each, once."""
    return sorted({path.rpartition(".")[2] for path in paths})


def _parts(paths: list[str]) -> str:
    """The parts of the model in which the modules stand: `vision_tower, multi_modal_projector`."""
    names = [path.removeprefix("model.").partition(".")[0] for path in paths]
    return ", ".join(dict.fromkeys(names))
