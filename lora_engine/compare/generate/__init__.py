"""Answers for all columns from one batch of `generation`, streamed.

From the bottom up:

adapter_settings   strength and layers off; how a person writes layers
mixed_lora_layer   one LoRA layer that applies each adapter to its own rows
adapter_switch     adapters injected into a model, switched on for some rows
shared_base        the base model in memory, its adapters, and the lock to run it
decode_passes      which answers decode in one batch, for how long at a time
answer_progress    text, counts and speeds of answers in the making
compatibility      mismatches of adapters and base, found before anything is loaded
asked_prompts      how all columns are asked: the form, its tokenizer, prompts as tokens
comparison_model   named columns over a shared base: `answer`, `answer_all`
model_pool         keeps the last base loaded between callers
prompt_set         many prompts, or a conversation, answered by every column
remote_server      a column on another server, through its chat API
local_and_remote   local columns and the remote one as one stream
"""

from lora_engine.compare.generate.adapter_settings import (
    AS_TRAINED,
    AdapterSettings,
    format_layers,
    parse_layers,
)
from lora_engine.compare.generate.answer_progress import AnswerProgress, ColumnProgress
from lora_engine.compare.generate.comparison_model import (
    BASE_COLUMN,
    AnswerRequest,
    ComparisonModel,
)
from lora_engine.compare.generate.compatibility import AdapterMismatches, find_mismatches
from lora_engine.compare.generate.local_and_remote import SERVER_COLUMN, answer_local_and_remote
from lora_engine.compare.generate.model_pool import ComparisonPool
from lora_engine.compare.generate.prompt_set import (
    Answer,
    PromptAnswers,
    PromptSetResult,
    answer_conversation,
    answer_prompts,
    answer_prompts_with_ticks,
    compare_prompts,
)
from lora_engine.compare.generate.remote_server import (
    RemoteServer,
    RemoteServers,
    parse_remote_server,
)
from lora_engine.generation.sampling import Sampling

__all__ = [
    "AS_TRAINED",
    "BASE_COLUMN",
    "SERVER_COLUMN",
    "AdapterMismatches",
    "AdapterSettings",
    "Answer",
    "AnswerProgress",
    "AnswerRequest",
    "ColumnProgress",
    "ComparisonModel",
    "ComparisonPool",
    "PromptAnswers",
    "PromptSetResult",
    "RemoteServer",
    "RemoteServers",
    "Sampling",
    "answer_conversation",
    "answer_local_and_remote",
    "answer_prompts",
    "answer_prompts_with_ticks",
    "compare_prompts",
    "find_mismatches",
    "format_layers",
    "parse_layers",
    "parse_remote_server",
]
