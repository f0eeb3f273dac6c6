"""transformers' `from_pretrained` on a person's files: as they are stored, checked, and in words.

The one place that calls it for a base model. No code of a model is ever run, and only safetensors
weights are read.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from lora_engine.base_models.classifier_heads import patterns_of_heads
from lora_engine.base_models.config_file import config_of
from lora_engine.base_models.find import BaseModel
from lora_engine.base_models.finite_weights import refuse_non_finite
from lora_engine.base_models.stored_quantization import stored_quantization
from lora_engine.base_models.stored_size import refuse_larger_than_stored
from lora_engine.base_models.weight_files import local_folder, weight_files
from lora_engine.errors import EngineError, NotFound
from lora_engine.host_memory import give_back_freed_memory
from lora_engine.language import tr

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig, PretrainedConfig, PreTrainedModel

    from lora_engine.spec import QuantizationSpec

# What transformers raises for files that are not what they should be.
UNFIT = (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, ArithmeticError)
NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


def load_pretrained(
    auto: Any,
    base: BaseModel,
    device: str,
    dtype: torch.dtype,
    quantization: QuantizationSpec | None = None,
    tensors: Mapping[str, torch.Tensor] | None = None,
    **changes: Any,
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The model of one of transformers' automatic classes, and its report about the weights.

    Weights that are stored quantized by bitsandbytes stay so, stored FP8 is widened to `dtype`, and
    `quantization` is for weights stored as numbers. changes: to the configuration. tensors: by the
    files' names, in place of the files' own; the model is then left on the host.
    Raises EngineError for a quantization that is not read here, for weights that are not finite, as
    `refuse_larger_than_stored` does, and for what transformers cannot load.
    """
    stored = stored_quantization(base)
    config = configuration(base, changes)
    _refuse_other_class(auto, base, config)
    options: dict[str, Any] = {}
    kept = patterns_of_heads(auto, config)
    if stored is not None:
        _read_as_stored(config, dtype, kept)
    elif quantization is not None:
        options["quantization_config"] = _bitsandbytes_config(quantization, dtype, kept)
    if options or (stored is not None and stored.spec is not None):
        options["device_map"] = {"": device}
    folder = local_folder(base)
    if folder is not None:
        refuse_larger_than_stored(auto, base, config, folder, stored is not None)
    if tensors is not None:
        options["state_dict"] = dict(tensors)
    model, report = _from_pretrained(auto, base, config, dtype, options)
    if folder is not None:
        refuse_non_finite(base.name, weight_files(folder))
    if tensors is not None:
        return model, report
    if stored is not None:
        _hold_numbers_in(dtype, model)
    if "device_map" not in options:
        if stored is not None and hasattr(model, "_weight_conversions"):
            del model._weight_conversions  # it would quantize a whole model again when it is saved
        # transformers' wrapper hides `self` from the type checker.
        return model.to(device), report  # type: ignore[arg-type]
    _keep_order_of_4_bit_weights(model)
    _release_mapped_file(model)
    return model, report


def configuration(base: BaseModel, changes: dict[str, Any]) -> PretrainedConfig:
    """transformers' configuration of a base, with changes to it. Raises EngineError."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    _refuse_unknown_type(base)
    try:
        return AutoConfig.from_pretrained(
            base.source, trust_remote_code=False, local_files_only=base.is_local, **changes
        )
    except (*UNFIT, StrictDataclassError) as error:
        raise describes_no_model(base, error) from error


def describes_no_model(base: BaseModel, error: Exception) -> EngineError:
    """What to say where transformers makes nothing of a base's config.json."""
    return EngineError(
        tr(
            "config.json of {name} describes no model: {in_one_line}",
            name=f"{base.name!r}",
            in_one_line=in_one_line(error),
        ),
        tr("Take the config.json that came with the weights."),
    )


def _refuse_unknown_type(base: BaseModel) -> None:
    """Raises EngineError where transformers has no model of the type that config.json names.

    A configuration that cannot be read is left for transformers to speak of.
    """
    import transformers

    config = config_of(base)
    model_type = config.get("model_type")
    if config and model_type not in list(transformers.CONFIG_MAPPING.keys()):
        problem = tr(
            "config.json of {name} has the model_type {model_type}, which transformers "
            "{version__} does not know.",
            name=f"{base.name!r}",
            model_type=f"{model_type!r}",
            version__=transformers.__version__,
        )
        if config.get("auto_map"):
            problem = f"{problem} {tr('The model brings its own code, which is never run.')}"
        raise EngineError(
            problem,
            tr("Give a model of a type that transformers knows, such as Llama or Qwen."),
        )


def _refuse_other_class(auto: Any, base: BaseModel, config: PretrainedConfig) -> None:
    """Raises EngineError where transformers has no model of this kind for the configuration."""
    import transformers

    if type(config) not in auto._model_mapping:
        raise EngineError(
            tr(
                "The base model {name} is a {model_type}; transformers {version__} has no "
                "{name__} model of that type.",
                name=f"{base.name!r}",
                model_type=f"{config.model_type!r}",
                version__=transformers.__version__,
                name__=auto.__name__.removeprefix("AutoModelFor"),
            ),
            tr(
                "Give a causal language model such as Llama or Qwen; for classification, an "
                "encoder such as BERT."
            ),
        )


def _read_as_stored(config: PretrainedConfig, dtype: torch.dtype, kept: Sequence[str]) -> None:
    """Let transformers read the checkpoint's own quantization, and compute in the run's dtype.

    kept: as `_bitsandbytes_config` has it.
    """
    holder = config
    if getattr(holder, "quantization_config", None) is None:
        holder = config.get_text_config(decoder=True)
    holder.quantization_config = {
        **holder.quantization_config,
        "bnb_4bit_compute_dtype": str(dtype).removeprefix("torch."),
        "dequantize": True,
        **_never_converted(kept, holder.quantization_config.get("llm_int8_skip_modules")),
    }


def _from_pretrained(
    auto: Any,
    base: BaseModel,
    config: PretrainedConfig,
    dtype: torch.dtype,
    options: dict[str, Any],
) -> tuple[PreTrainedModel, dict[str, Any]]:
    from safetensors import SafetensorError
    from transformers.models.auto.auto_factory import _get_model_class
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    # Beside tensors of ours, transformers takes a class and no name.
    with_own = "state_dict" in options
    holder = _get_model_class(config, auto._model_mapping) if with_own else auto
    try:
        with _quiet("transformers"):
            return holder.from_pretrained(
                None if with_own else base.source,
                config=config,
                dtype=dtype,
                trust_remote_code=False,
                use_safetensors=True,
                local_files_only=base.is_local,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                **options,
            )
    except (*UNFIT, ImportError, SafetensorError) as error:
        if isinstance(error, RuntimeError) and any(w in str(error).lower() for w in NO_MEMORY):
            raise
        if isinstance(error, OSError) and not base.is_local:
            raise NotFound(
                tr(
                    "The safetensors weights of {name} are not in the local cache, and the "
                    "hub does not give them.",
                    name=f"{base.name!r}",
                ),
                tr("Check the network and whether the model has safetensors files."),
            ) from error
        raise _cannot_load(base, error) from error


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Within: the logger reports errors only. What it would report comes back as an answer."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _cannot_load(base: BaseModel, error: Exception) -> EngineError:
    return EngineError(
        tr(
            "The base model {name} cannot be loaded: {in_one_line}",
            name=f"{base.name!r}",
            in_one_line=in_one_line(error),
        ),
        tr("Give a model folder whose config.json and safetensors weights are of one model."),
    )


def _hold_numbers_in(dtype: torch.dtype, model: PreTrainedModel) -> None:
    """Convert what is not quantized; beside codes, transformers leaves it as the file has it."""
    for parameter in model.parameters():
        if parameter.is_floating_point() and not hasattr(parameter, "quant_state"):
            parameter.data = parameter.data.to(dtype)


def quantize_skeleton(
    model: PreTrainedModel, quantization: QuantizationSpec, dtype: torch.dtype, device: str
) -> None:
    """Put bitsandbytes' 4-bit modules where `load_pretrained` would have put them.

    The layers' weights must be placeholders, and are placeholders of codes afterwards; weights
    outside the layers are quantized. Biases stay.
    """
    import torch
    from bitsandbytes.nn import Linear4bit, Params4bit
    from transformers.pytorch_utils import Conv1D
    from transformers.quantizers.auto import AutoHfQuantizer

    before = {name: dict(module.named_parameters()) for name, module in model.named_modules()}
    quantizer = AutoHfQuantizer.from_config(
        _bitsandbytes_config(quantization, dtype, ()), pre_quantized=False
    )
    quantizer.preprocess_model(model=model, dtype=dtype, device_map={"": device})
    for name, module in model.named_modules():
        if not isinstance(module, Linear4bit):
            continue
        weight, empty = before[name]["weight"], module.weight
        is_placeholder = weight.untyped_storage().nbytes() <= 8
        is_transposed = issubclass(cast(type, module.source_cls), Conv1D)
        codes = weight.data.T if is_transposed else weight.data
        if is_placeholder:
            packed = -(-weight.numel() // 2)
            codes = torch.zeros((), dtype=torch.uint8).expand(packed, 1)
        options = {**empty.__dict__, "bnb_quantized": is_placeholder}
        module.weight = Params4bit(codes, requires_grad=False, **options)
        if not is_placeholder:
            module.weight = cast(Any, module.weight).to(device)
        if "bias" in before[name]:
            module.bias = before[name]["bias"]
    model.hf_quantizer = quantizer
    quantizer.postprocess_model(model)
    _keep_order_of_4_bit_weights(model)


def _keep_order_of_4_bit_weights(model: PreTrainedModel) -> None:
    """Keep bitsandbytes from repacking 4-bit weights in place when a layer runs in eval mode.

    It does so on CPUs with AVX512-BF16. Whoever unpacks the bytes afterwards (fused layers, DoRA)
    reads the new order as the old one and gets other weights, and the repacked layer's own
    product has no gradient.
    """
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def _release_mapped_file(model: PreTrainedModel) -> None:
    """Copy what still lies in the mapped checkpoint, and give freed memory back to the system.

    One embedding that is a view into the map keeps all of the file's pages resident, the
    quantized layers' original weights too: 346 MiB for a model that needs 129.
    """
    parameter: Any  # bitsandbytes' kinds have more attributes
    for parameter in model.parameters():
        if parameter.device.type != "cpu":
            continue
        parameter.data = parameter.data.clone()
        if getattr(parameter, "CB", None) is not None:
            parameter.CB = parameter.data  # bitsandbytes' second name for the same 8-bit codes
        for holder, name in _scales(parameter):
            setattr(holder, name, getattr(holder, name).clone())
    give_back_freed_memory()


def _scales(parameter: torch.Tensor) -> Iterator[tuple[Any, str]]:
    """Where a quantized weight keeps its scales and tables: the objects and their attributes."""
    import torch

    if isinstance(getattr(parameter, "SCB", None), torch.Tensor):
        yield parameter, "SCB"
    state = getattr(parameter, "quant_state", None)
    for holder in (state, getattr(state, "state2", None)):
        for name in ("absmax", "code", "offset"):
            if isinstance(getattr(holder, name, None), torch.Tensor):
                yield holder, name


def _never_converted(kept: Sequence[str], stored: object = None) -> dict[str, list[str]]:
    """transformers' own choice (the output layer) where nothing else is to be kept."""
    if not kept:
        return {}
    return {"llm_int8_skip_modules": [*(stored if isinstance(stored, list) else []), *kept]}


def _bitsandbytes_config(
    quantization: QuantizationSpec, dtype: torch.dtype, kept: Sequence[str]
) -> BitsAndBytesConfig:
    """kept: patterns of modules that stay numbers; empty for transformers' own choice."""
    from transformers import BitsAndBytesConfig

    if quantization.bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True, **_never_converted(kept))
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=quantization.type,
        bnb_4bit_use_double_quant=quantization.double,
        bnb_4bit_compute_dtype=dtype,
        **_never_converted(kept),
    )


def in_one_line(error: Exception) -> str:
    """The start of an error's text, or its kind."""
    if isinstance(error, KeyError):
        return tr("it names {name}, which transformers does not know", name=str(error)[:100])
    words = " ".join(str(error).split())[:300]
    return words or type(error).__name__
