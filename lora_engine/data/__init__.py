"""From a dataset's name to supervised tokens.

rows              what a dataset is once read
split             the split into training and evaluation, twins (`twins`) on one side
records           one raw record, and records that are read each time they are gone through
record_files      a file to raw records, bounded
text_file         text decoded and unpacked on the way, its size counted meanwhile
json_rows         records of JSON (and csv_rows, parquet_rows, passages of the others)
reading           which format a file is in, and what each column means
formats           raw records to rows
sources           starter sets, files, the hub; several of them as one
hub_sets          sets on the hub, by configuration and split
filters           rows that are left out before the split
joining           several sets made one dataset, numbered through (joined_rows)
mixture           which rows of several sets are evaluated, and which make an epoch
set_counts        how many rows of each set are trained on and evaluated
uploads           the files people uploaded: kept, listed, deleted
templates         rendering with a chat template, in a guarded process
template_check    would the template take these rows, asked without a tokenizer
bundled_templates the templates to choose from, and none
trained_template  with which template an adapter was trained
plain_text        text that no template writes, to learn and to continue
turn_layout       what a template writes around the texts, and how it ends a turn
turn_regions      where each turn's text stands in a rendered row
answer_span       where a learned answer starts and ends
left_out          what a template leaves out of a row
masking           which characters of a rendered conversation the loss is on
turn_end          the tokens that end an answer, for generation and exports
encoding          rows to tokens with their characters and supervised flags
tokenization      tokens to ids and labels, cut to length, with a report
class_labels      the same for rows to classify
token_cache       the same, kept on disk by content
said              sentences that are kept, and said again in another language
row_cache         parsed sets kept for the next run, a large one's rows on disk
row_store         the rows of a large set on disk (and token_store its tokens)
cache_folder      entries written whole, checked, locked while in use, and bounded together
picked            some items of a sequence by their places, nothing copied
seeded_order      a seeded order of many things
preview_examples  rows token by token
preview_rows      what the model will see of a set, with figures
preference_rows   rows that compare or judge answers, from columns to turns
preference_tokens the same as tokens: pairs of answers, judged answers
objective_rows    are these rows what the objective learns from?
preview_warnings  what may be wrong with the rows, in words
checks            what is wrong with a set, row by row, and the set without these rows
service           what the engine's façade offers about datasets

Importing this loads none of torch, transformers, datasets, pyarrow and pandas.
"""

from lora_engine.data.checks import (
    CleanedSet,
    DataCheck,
    Finding,
    FindingKind,
    Severity,
    check_dataset,
    kinds_named,
)
from lora_engine.data.entity_spans import type_of
from lora_engine.data.formats import column_names
from lora_engine.data.preview_examples import PreviewExample, PreviewToken
from lora_engine.data.preview_rows import HistogramBar, Preview, preview
from lora_engine.data.record_files import EXTENSIONS
from lora_engine.data.rows import Dataset, Message, Row
from lora_engine.data.set_counts import RowCounts, SetCounts
from lora_engine.data.sources import first_records, load_dataset
from lora_engine.data.split import split_rows
from lora_engine.data.templates import ChatTemplate, chat_template_of, default_chat_template
from lora_engine.data.tokenization import Tokenization, TokenizedRow, tokenize, tokenize_rows
from lora_engine.data.trained_template import tokenizer_as_trained
from lora_engine.data.turn_end import end_of_turn, stop_tokens
from lora_engine.data.uploads import (
    DatasetSummary,
    delete_upload,
    list_datasets,
    list_uploads,
    named_datasets,
    save_upload,
)

__all__ = [
    "EXTENSIONS",
    "ChatTemplate",
    "CleanedSet",
    "DataCheck",
    "Dataset",
    "DatasetSummary",
    "Finding",
    "FindingKind",
    "HistogramBar",
    "Message",
    "Preview",
    "PreviewExample",
    "PreviewToken",
    "Row",
    "RowCounts",
    "SetCounts",
    "Severity",
    "Tokenization",
    "TokenizedRow",
    "chat_template_of",
    "check_dataset",
    "column_names",
    "default_chat_template",
    "delete_upload",
    "end_of_turn",
    "first_records",
    "kinds_named",
    "list_datasets",
    "named_datasets",
    "list_uploads",
    "load_dataset",
    "preview",
    "save_upload",
    "split_rows",
    "stop_tokens",
    "tokenize",
    "tokenize_rows",
    "tokenizer_as_trained",
    "type_of",
]
