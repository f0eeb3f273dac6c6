"""Generating from a language model: one batch of rows, a token a row in each step.

sampling       how the next token is chosen, the same for every row
kv_cache       a key-value cache that grows in place
virtual_tokens what trained tokens before every row leave in the cache
token_scores   log-probabilities of tokens as the model gave them
decode         the decode loop over one batch of rows

It knows token ids and logits. Compare, the endpoint and training bring prompts and adapters.
"""

from lora_engine.generation.decode import DecodeBatch, DecodeRow, FinishReason
from lora_engine.generation.sampling import Sampling
from lora_engine.generation.token_scores import TokenScore

__all__ = ["DecodeBatch", "DecodeRow", "FinishReason", "Sampling", "TokenScore"]
