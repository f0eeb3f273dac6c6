"""Loading a base model and its tokenizer.

No code of a model is ever run, and only safetensors weights are read. Knows nothing of adapters
or training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lora_engine.base_models.find import BaseModel
from lora_engine.base_models.stored_quantization import refuse_stored_quantization
from lora_engine.errors import EngineError
from lora_engine.host_memory import give_back_freed_memory
from lora_engine.library_imports import import_transformers

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig, PreTrainedModel, PreTrainedTokenizerBase

    from lora_engine.spec import QuantizationSpec


def load_tokenizer(model: BaseModel) -> PreTrainedTokenizerBase:
    """The model's own tokenizer, with a padding token.

    Raises EngineError where the folder holds none.
    """
    import_transformers()
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            model.source, trust_remote_code=False, local_files_only=model.is_local
        )
    except (OSError, ValueError) as error:
        raise EngineError(
            f"The tokenizer of {model.name!r} cannot be loaded: {_first_line(error)}",
            "Check that tokenizer.json and tokenizer_config.json lie beside config.json.",
        ) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_base_model(
    model: BaseModel,
    device: str,
    dtype: torch.dtype,
    quantization: QuantizationSpec | None = None,
) -> PreTrainedModel:
    """The causal language model with its weights in `dtype` (or quantized) on `device`.

    Raises EngineError where the model's kind is not a causal language model, its stored weights
    are quantized already, or files are missing.
    """
    refuse_stored_quantization(model.name, model.path)
    import_transformers()
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    quantized = {}
    if quantization is not None:
        config = _bitsandbytes_config(quantization, dtype)
        quantized = {"device_map": {"": device}, "quantization_config": config}
    try:
        loaded = AutoModelForCausalLM.from_pretrained(
            model.source,
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=model.is_local,
            **quantized,
        )
    except (OSError, ValueError) as error:
        raise EngineError(
            f"The base model {model.name!r} cannot be loaded: {_first_line(error)}",
            "Give a causal language model with config.json and safetensors weights.",
        ) from error
    if quantization is None:
        return loaded.to(device)  # type: ignore[arg-type]  # transformers' wrapper hides `self`
    _keep_order_of_4_bit_weights(loaded)
    _release_mapped_file(loaded)
    return loaded


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
    for parameter in model.parameters():
        if parameter.device.type == "cpu" and not hasattr(parameter, "quant_state"):
            parameter.data = parameter.data.clone()
    give_back_freed_memory()


def _bitsandbytes_config(quantization: QuantizationSpec, dtype: torch.dtype) -> BitsAndBytesConfig:
    from transformers import BitsAndBytesConfig

    if quantization.bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=quantization.type,
        bnb_4bit_use_double_quant=quantization.double,
        bnb_4bit_compute_dtype=dtype,
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
