"""Loading a base model and its tokenizer.

No code of a model is ever run, and only safetensors weights are read. Knows nothing of adapters
or training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lora_engine.base_models.causal_models import refuse_no_causal_model
from lora_engine.base_models.find import BUNDLED, BaseModel
from lora_engine.base_models.load_report import refuse_incomplete
from lora_engine.base_models.pretrained import UNFIT, in_one_line, load_pretrained
from lora_engine.base_models.tokenizer_files import check_tokenizer_files
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.library_imports import import_tokenizers, import_transformers

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from lora_engine.spec import QuantizationSpec


def load_tokenizer(model: BaseModel) -> PreTrainedTokenizerBase:
    """The model's own tokenizer, with a padding token.

    Raises EngineError where the folder holds none that can be read, and as
    `check_tokenizer_files` does.
    """
    if model.path is not None and model.name in BUNDLED:
        return _bundled_tokenizer(model)
    if model.path is not None:
        check_tokenizer_files(model.path)
    import_transformers()
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            model.source, trust_remote_code=False, local_files_only=model.is_local
        )
    except (*UNFIT, ImportError, StrictDataclassError) as error:
        raise EngineError(
            tr(
                "The tokenizer of {name} cannot be loaded: {in_one_line}",
                name=f"{model.name!r}",
                in_one_line=in_one_line(error),
            ),
            tr(
                "Check that tokenizer.json and tokenizer_config.json lie beside config.json, "
                "and that all three are of one model."
            ),
        ) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _bundled_tokenizer(model: BaseModel) -> PreTrainedTokenizerBase:
    """As AutoTokenizer reads it, without what AutoTokenizer imports to find the class: a page that
    opens on a bundled model waits for this."""
    import_tokenizers()
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(model.source, local_files_only=True)


def load_base_model(
    model: BaseModel,
    device: str,
    dtype: torch.dtype,
    quantization: QuantizationSpec | None = None,
) -> PreTrainedModel:
    """The causal language model with its weights in `dtype` (or quantized) on `device`.

    quantization: of weights that are stored as numbers. A base that is stored quantized keeps its
    own. Raises EngineError where the model is no causal language model, and as `load_pretrained`
    and `refuse_incomplete` do.
    """
    refuse_no_causal_model(model)
    import_transformers()
    from transformers import AutoModelForCausalLM

    loaded, report = load_pretrained(AutoModelForCausalLM, model, device, dtype, quantization)
    refuse_incomplete(model.name, report)
    return loaded
