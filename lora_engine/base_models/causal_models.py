"""Which base models predict the next token from those before it, told by config.json alone.

An encoder sees the tokens after each token too. transformers builds some as language models all
the same: their loss is then measured on tokens that the model can see, and what they generate means
nothing. An encoder-decoder loaded as a decoder alone runs without the input of its cross-attention.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lora_engine.base_models.config_file import config_of
from lora_engine.base_models.find import BaseModel
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spec import Task

# Encoders that transformers makes causal where config.json has is_decoder.
SWITCHED = frozenset(
    ("bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "electra", "ernie")
    + ("megatron-bert", "reformer", "rembert", "roberta", "roberta-prelayernorm", "roc_bert")
    + ("roformer", "xlm-roberta", "xlm-roberta-xl", "xmod")
)
ENCODERS = frozenset(
    ("albert", "convbert", "deberta", "deberta-v2", "distilbert", "ernie_m", "esm", "esmc")
    + ("eurobert", "neomme", "perceiver", "ultrabert", "ultravbert")
    + ("flaubert", "fnet", "funnel", "gte", "ibert", "jina_embeddings_v3", "layoutlm")
    + ("layoutlmv2", "layoutlmv3", "longformer", "luke", "lilt", "mobilebert", "modernbert")
    + ("modernvbert", "mpnet", "mra", "nezha", "nomic_bert", "nystromformer", "qdqbert")
    + ("squeezebert", "tapas", "canine", "markuplm", "xlnet", "yoso")
)
ENCODER_DECODERS = frozenset(
    ("bart", "bigbird_pegasus", "blenderbot", "blenderbot-small", "encoder-decoder", "fsmt", "led")
    + ("longt5", "m2m_100", "marian", "mbart", "moonshine", "mt5", "musicgen", "mvp", "nllb-moe")
    + ("pegasus", "pegasus_x", "plbart", "prophetnet", "seamless_m4t", "seamless_m4t_v2")
    + ("speech_to_text", "switch_transformers", "t5", "t5gemma", "t5gemma2", "umt5", "whisper")
    + ("vision-encoder-decoder",)
)


ENCODER, ENCODER_DECODER = "encoder", "encoder-decoder"  # what a base may be instead


def refuse_no_causal_model(base: BaseModel) -> None:
    """Raises EngineError where the base is no causal language model, naming what it is.

    Raises NotFound as `config_of` does. A configuration that cannot be read is left for the loader
    to speak of.
    """
    config = config_of(base)
    kind = other_kind(config)
    if kind is None:
        return
    named = {
        "name": f"{base.name!r}",
        "model_type": f"{config.get('model_type')!r}{_decoder_flag(config)}",
    }
    if kind == ENCODER:
        raise EngineError(
            tr(
                "The base model {name} is an encoder (model_type {model_type}), not a causal "
                "language model: each token sees the tokens after it.",
                **named,
            ),
            tr(
                "Choose the task sequence_classification or token_classification for it, or "
                "give a causal language model such as Llama or Qwen."
            ),
        )
    raise EngineError(
        tr(
            "The base model {name} is an encoder-decoder (model_type {model_type}), not a causal "
            "language model: its answers come from an encoder's output, which this task does not "
            "give it.",
            **named,
        ),
        tr("Give a causal language model such as Llama or Qwen."),
    )


def refuse_other_task_of(base: BaseModel, task: Task) -> None:
    """Raises EngineError where the task is causal_lm and the base is no causal language model."""
    if task == "causal_lm":
        refuse_no_causal_model(base)


def other_kind(config: Mapping[str, Any]) -> str | None:
    """ENCODER or ENCODER_DECODER by a config.json; None where it may be causal."""
    model_type = str(config.get("model_type", "")).lower()
    is_decoder = config.get("is_decoder") is True
    if model_type in ENCODER_DECODERS or config.get("is_encoder_decoder") is True:
        # A decoder saved by itself says so: BartForCausalLM, TrOCR's half of a pair.
        alone = is_decoder and config.get("is_encoder_decoder") is False
        return None if alone else ENCODER_DECODER
    if model_type in ENCODERS or (model_type in SWITCHED and not is_decoder):
        return ENCODER
    if model_type == "xlm" and config.get("causal") is not True:
        return ENCODER
    return None


def _decoder_flag(config: Mapping[str, Any]) -> str:
    if config.get("model_type") not in SWITCHED:
        return ""
    return f", is_decoder {json.dumps(config.get('is_decoder', False))}"
