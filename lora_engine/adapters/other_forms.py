"""What an adapter is that is not LoRA in PEFT's form: whose form it has, and what helps.

Recognizes other makers' folders, configurations and keys by their names, and other methods of
PEFT by their type. Reads nothing: names and documents come as arguments.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lora_engine.errors import EngineError, NotFound
from lora_engine.language import tr, translatable

BOTTLENECK = "RANKSCOPE_BOTTLENECK"
"""The `peft_type` of bottleneck layers, which PEFT does not have and refuses by this name."""
PROMPT_METHODS = (
    "PREFIX_TUNING",
    "PROMPT_TUNING",
    "P_TUNING",
    "MULTITASK_PROMPT_TUNING",
    "ADAPTION_PROMPT",
    "CPT",
    "CARTRIDGE",
)
READ_METHODS = ("PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING", "IA3", "VERA", "LOHA", BOTTLENECK)
"""Those that runs train and Compare answers with; `kinds` reads them."""
METHODS = {
    BOTTLENECK: translatable("two small layers in sequence a layer of the model"),
    "ADALORA": translatable("AdaLoRA, three factors a weight"),
    "BOFT": translatable("BOFT, products of butterfly rotations"),
    "HRA": translatable("HRA, reflections of the weight"),
    "IA3": translatable("factors that scale activations"),
    "LN_TUNING": translatable("trained layer norms"),
    "LOHA": translatable("LoHa, a Hadamard product of two low-rank products"),
    "LOKR": translatable("LoKr, a Kronecker product"),
    "OFT": translatable("OFT, rotations of the weight"),
    "VERA": translatable("VeRA, random factors shared by all weights"),
    "XLORA": translatable("X-LoRA, a gate over several adapters"),
}


AS_IT_IS = translatable("Compare answers with it as it is; this needs an adapter of LoRA.")
AS_IT_IS_OR_MERGED = translatable(
    "Compare answers with it as it is; this needs an adapter of LoRA. Or merge this one into its "
    "base with PEFT (merge_and_unload) and compare the two models: spectrum --base DIR --tuned DIR."
)
LORA_OR_MERGED = translatable(
    "Use an adapter of LoRA, or merge this one into its base with PEFT (merge_and_unload) and "
    "compare the two models: spectrum --base DIR --tuned DIR."
)


class Form(NamedTuple):
    """Keys of one maker: what they look like, a sentence on {file} and {key}, what helps."""

    keys: re.Pattern[str]
    problem: str
    remedy: str


_UNWRAP = translatable(
    "Unwrap the model first (accelerator.unwrap_model, model.module, model._orig_mod) and save it "
    "with PEFT's save_pretrained."
)
FORMS = (
    Form(
        re.compile(r"(^|\.)(_orig_mod|_fsdp_wrapped_module|_forward_module|_checkpoint_wrapped_mod"
                   r"ule)\.|^module\."),
        translatable(
            "{file} was saved from a wrapped model (torch.compile, DistributedDataParallel, FSDP): "
            "the wrapper's name is in its keys: {key}."
        ),
        _UNWRAP,
    ),
    Form(
        re.compile(r"lora_(down|up|mid)\.weight$|\.alpha$|^lora_(unet|te\d?|transformer)_|dora_scale"),
        translatable(
            "{file} has kohya's form (lora_down, lora_up and alpha, as sd-scripts and ComfyUI use "
            "it): {key}."
        ),
        translatable(
            "Convert it to PEFT's: lora_down is lora_A, lora_up is lora_B, and alpha is lora_alpha "
            "in adapter_config.json."
        ),
    ),
    Form(
        re.compile(r"\.lora\.(down|up)\.weight$|lora_linear_layer\.|_lora\.(down|up)\.weight$"),
        translatable("{file} has the older form of diffusers (lora.down and lora.up): {key}."),
        translatable("Convert it to PEFT's with diffusers: convert_state_dict_to_peft."),
    ),
    Form(
        re.compile(r"\.lora_[ab]$"),
        translatable("{file} has the form of MLX (lora_a and lora_b, stored transposed): {key}."),
        translatable(
            "Convert it to PEFT's: lora_A.weight is lora_a transposed, lora_B.weight is lora_b "
            "transposed."
        ),
    ),
    Form(
        re.compile(r"\.lora_[ab]\.weight$"),
        translatable("{file} has torchtune's own form (lora_a and lora_b): {key}."),
        translatable(
            "Save it with torchtune's FullModelHFCheckpointer, which writes PEFT's form too."
        ),
    ),
    Form(
        re.compile(r"\.(linear_in|linear_out)\.weight$|adapter_layer\."),
        translatable(
            "{file} has the form of NeMo or Megatron (linear_in and linear_out): {key}."
        ),
        translatable("Export it to Hugging Face's form with NeMo first."),
    ),
    Form(
        re.compile(r"\.(hada_w[12]_|lokr_w[12]|lora_E|lora_diag|vera_|ia3_l|oft_|boft_|ranknum)"
                   r"|prompt_embeddings|^(loha|lokr)_"),
        translatable("{file} holds factors of another method than LoRA: {key}."),
        translatable(
            "Use an adapter of LoRA, or merge this one into its base and compare the two models: "
            "spectrum --base DIR --tuned DIR."
        ),
    ),
)  # fmt: skip
_NAMED = re.compile(
    r"\.(?:lora_(?:A|B|embedding_A|embedding_B|magnitude_vector)|modules_to_save)\."
    r"(?P<name>(?!weight$|bias$)[^.]+)(?:\.|$)"
)
_OF_MLX = translatable("is MLX's form of an adapter")
_CONVERT = translatable("Convert it to PEFT's form first.")
_FILES = (
    (
        "*.gguf",
        translatable("is llama.cpp's form of an adapter"),
        translatable("Give the PEFT folder it was converted from."),
    ),
    ("adapters.safetensors", _OF_MLX, _CONVERT),
    ("adapters.npz", _OF_MLX, _CONVERT),
    (
        "pytorch_lora_weights.safetensors",
        translatable("is diffusers' form of an adapter, for an image model"),
        translatable("Rankscope reads the folders that PEFT saves."),
    ),
    (
        "model*.safetensors",
        translatable("belongs to a whole model, which is no adapter"),
        translatable("Give it as a model: compare --base DIR, or spectrum --base DIR --tuned DIR."),
    ),
)
_PICKLE = translatable(
    "Load it with PEFT and save it again with save_pretrained(..., safe_serialization=True)."
)


def method_words(peft_type: object) -> str:
    """What another method is, to follow its name; empty where there is nothing to say."""
    if not isinstance(peft_type, str):
        return ""
    if peft_type in PROMPT_METHODS:
        return tr(", which learns prompts and changes no weight: it has no ΔW")
    words = METHODS.get(peft_type)
    return tr(" ({method})", method=tr(words)) if words else ""


def method_remedy(peft_type: object) -> str:
    """What helps with an adapter of another method, where one of LoRA is needed."""
    if not isinstance(peft_type, str):
        peft_type = ""
    if peft_type in READ_METHODS:
        can_merge = peft_type in ("IA3", "VERA", "LOHA")
        return tr(AS_IT_IS_OR_MERGED if can_merge else AS_IT_IS)
    if peft_type in PROMPT_METHODS:
        return tr("Use it with PEFT; Rankscope does not read it.")
    return tr(LORA_OR_MERGED)


def refuse_other_tool(path: Path, document: Mapping[str, Any]) -> None:
    """Raise EngineError for the adapter_config.json of another tool than PEFT."""
    if "peft_type" in document:
        return
    if {"lora_parameters", "fine_tune_type"} & set(document):
        raise EngineError(
            tr(
                "{path} was written by MLX (it has no peft_type), whose adapters have "
                "another form.",
                path=path,
            ),
            tr(
                "Convert it to PEFT's form first: lora_A is lora_a transposed, lora_B is "
                "lora_b transposed."
            ),
        )
    if "architecture" in document or isinstance(document.get("config"), Mapping):
        raise EngineError(
            tr(
                "{path} was written by AdapterHub's adapters library (it has no peft_type).",
                path=path,
            ),
            tr("Use an adapter that PEFT saved."),
        )


def file_instead(path: Path) -> NotFound:
    """The error for a file where an adapter's folder is asked for."""
    if path.name in ("adapter_model.safetensors", "adapter_config.json"):
        return NotFound(
            tr("{path} is one file of an adapter.", path=path),
            tr("Give its folder, {parent}.", parent=path.parent),
        )
    for pattern, meaning, remedy in _FILES:
        if path.match(pattern):
            return NotFound(
                tr("{path} is a file, and {meaning}.", path=path, meaning=tr(meaning)), tr(remedy)
            )
    return NotFound(
        tr("{path} is a file, not an adapter's folder.", path=path),
        tr("Give the folder that holds adapter_config.json and adapter_model.safetensors."),
    )


def folder_without(name: str, folder: Path) -> NotFound:
    """The error for an adapter's folder without one of its two files, by what it has instead."""
    has_config = (folder / "adapter_config.json").is_file()
    if (folder / "adapter_model.bin").is_file() and (has_config or name.endswith(".safetensors")):
        return pickled_weights(folder, name, "adapter_model.bin")
    problem = (
        tr("{folder} is half-written: it has no {name}", folder=folder, name=name)
        if has_config
        else tr("{folder} is not an adapter folder: it has no {name}", folder=folder, name=name)
    )
    below = sorted(path.parent.name for path in folder.glob("*/adapter_config.json"))
    if below and not has_config:
        shown = ", ".join(below[:5])
        return NotFound(
            tr("{problem}, but its folders have: {shown}.", problem=problem, shown=shown),
            tr("Give {folder}.", folder=folder / below[-1]),
        )
    for pattern, meaning, remedy in _FILES:
        other = next(iter(sorted(folder.glob(pattern))), None)
        if other is not None:
            return NotFound(
                tr(
                    "{problem}; {name} {meaning}.",
                    problem=problem,
                    name=other.name,
                    meaning=tr(meaning),
                ),
                tr(remedy),
            )
    return NotFound(
        tr("{problem}.", problem=problem),
        tr(
            "Copy the adapter again from where it was saved: it has adapter_config.json and "
            "adapter_model.safetensors."
        ),
    )


def pickled_weights(where: object, name: str, pickled: str) -> NotFound:
    """The error for an adapter whose weights are a pickle, the file `pickled`, and not `name`."""
    return NotFound(
        tr(
            "{where} has no {name}: its weights are in {pickled}, and {pickled} is not "
            "opened, because a pickle can run code.",
            where=where,
            name=name,
            pickled=pickled,
        ),
        tr(_PICKLE),
    )


def is_wrapped(key: str) -> bool:
    """Whether a key has the name of a wrapper around the model, beside an adapter's parts."""
    return FORMS[0].keys.search(key) is not None


def foreign_key_error(file: str, key: str) -> EngineError:
    """The error for a key that is no part of a PEFT LoRA adapter, by whose form it has."""
    shown = repr(key[:200])
    for form in FORMS:
        if form.keys.search(key):
            return EngineError(tr(form.problem, file=file, key=shown), tr(form.remedy))
    if named := _NAMED.search(key):
        name = named["name"][:100]
        return EngineError(
            tr(
                "{file} still has the adapter's name, {name}, in its keys: {shown}. A script "
                "saved the state dict itself, as with DeepSpeed or FSDP.",
                file=file,
                name=f"{name!r}",
                shown=shown,
            ),
            tr(
                "Save the adapter with PEFT's save_pretrained, which takes the name out, or "
                "take '.{name}' out of every key.",
                name=name,
            ),
        )
    return EngineError(
        tr(
            "{file} holds {shown}, which belongs to no LoRA module and would overwrite the "
            "base model.",
            file=file,
            shown=shown,
        ),
        tr(
            "Save the adapter with PEFT's save_pretrained, called on the PeftModel, which "
            "leaves the base model's weights out."
        ),
    )
