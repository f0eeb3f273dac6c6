"""How many tokens an encoder reads at once: what lies behind has no position, and no answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lora_engine.base_models.config_file import config_of
from lora_engine.base_models.find import BaseModel

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# These count positions from behind the padding token's id.
FROM_BEHIND_PADDING = (
    "camembert",
    "data2vec-text",
    "ibert",
    "longformer",
    "mpnet",
    "roberta",
    "xlm-roberta",
    "xlm-roberta-xl",
)


def longest_input(base: BaseModel, tokenizer: PreTrainedTokenizerBase, wanted: int) -> int:
    """`wanted`, or fewer tokens where the model has no more positions or its tokenizer says so."""
    config = config_of(base)
    positions = config.get("max_position_embeddings")
    if not isinstance(positions, int) or positions < 1:
        return min(wanted, tokenizer.model_max_length)
    if config.get("model_type") in FROM_BEHIND_PADDING:
        pad = config.get("pad_token_id")
        positions -= (pad if isinstance(pad, int) else 1) + 1
    return min(wanted, positions, tokenizer.model_max_length)
