"""Where prompts come from, and how they become token ids. Knows no model and no adapter's weights.

prompt_form        how a comparison asks, as a chat or with a text to continue, and why
prompt_tokens      messages to token ids, with the checks that a prompt needs
prompt_file        prompts from a file or a field, each with what is expected
held_out_rows      the rows that an adapter was not trained on, from its provenance
general_questions  questions with answers that no adapter was trained for
known_language     what the starter cannot read: a note on prompts in another script
sampled_answers    a question that the runs of adapters have answered already
suggestions        three prompts to click, and questions drawn for blind votes
"""

from lora_engine.compare.prompts.general_questions import general_rows
from lora_engine.compare.prompts.held_out_rows import load_held_out_rows, training_spec_of
from lora_engine.compare.prompts.known_language import language_notes
from lora_engine.compare.prompts.prompt_file import (
    PromptCase,
    case_from_row,
    parse_cases,
    read_cases,
    read_prompts,
)
from lora_engine.compare.prompts.prompt_form import AskAs, Mode, PromptForm
from lora_engine.compare.prompts.prompt_tokens import encode_prompts
from lora_engine.compare.prompts.sampled_answers import SampledAnswers, sampled_answers
from lora_engine.compare.prompts.suggestions import QuestionSet, draw_question, suggested_prompts

__all__ = [
    "AskAs",
    "Mode",
    "PromptCase",
    "PromptForm",
    "QuestionSet",
    "SampledAnswers",
    "case_from_row",
    "draw_question",
    "encode_prompts",
    "general_rows",
    "language_notes",
    "load_held_out_rows",
    "parse_cases",
    "read_cases",
    "read_prompts",
    "sampled_answers",
    "suggested_prompts",
    "training_spec_of",
]
