"""What must hold for any rows: splits, masks, and refusals instead of crashes."""

import json
import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from lora_engine.data import (
    Dataset,
    Message,
    Row,
    load_dataset,
    record_files,
    row_cache,
    split_rows,
    tokenize_rows,
)
from lora_engine.errors import EngineError
from lora_engine.settings import Settings
from lora_engine.spec import DatasetSpec

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TRIMMING = CHATML.replace("m.content", "m.content | trim")


def byte_tokenizer(template: str) -> PreTrainedTokenizerFast:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        special_tokens=["</s>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        vocab_size=259,
        show_progress=False,
    )
    made.train_from_iterator([], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>")
    fast.chat_template = template
    return fast


TOKENIZERS = {template: byte_tokenizer(template) for template in (CHATML, TRIMMING)}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    ["<|im_end|>", "\nuser\n", "<|im_start|>assistant\n", "\ue0f00\ue0f1", ""]
)
conversations = st.lists(st.tuples(texts, texts), min_size=1, max_size=3).map(
    lambda pairs: tuple(
        Message(role, text)
        for pair in pairs
        for role, text in zip(("user", "assistant"), pair, strict=True)
    )
)


@settings(max_examples=25, deadline=None)
@given(st.lists(conversations, min_size=1, max_size=8), st.sampled_from(list(TOKENIZERS)))
def test_exactly_the_answers_and_their_end_tokens_are_learned(turns, template):
    tokenizer = TOKENIZERS[template]
    rows = [Row(n, messages, None) for n, messages in enumerate(turns, start=1)]
    for row, made in zip(rows, tokenize_rows(rows, tokenizer, 100_000), strict=True):
        answers = [m.content for m in row.messages if m.role == "assistant"]
        if template == TRIMMING:
            answers = [answer.strip() for answer in answers]
        learned = [label for label in made.labels if label != -100]
        expected = "".join(answer + "<|im_end|>" for answer in answers)
        assert tokenizer.decode(learned) == expected
        assert all(a in (-100, b) for a, b in zip(made.labels, made.input_ids, strict=True))


@given(st.integers(2, 200), st.floats(0.0, 0.999, exclude_max=True), st.integers(0, 2**32 - 1))
def test_a_split_is_a_partition_with_a_training_row(count, fraction, seed):
    rows = tuple(Row(n + 1, (), str(n)) for n in range(count))
    train, evaluation = split_rows(Dataset("made", "text", rows, "0"), fraction, seed)
    assert train
    assert bool(evaluation) == (fraction > 0)
    assert sorted([*train, *evaluation], key=lambda row: row.number) == list(rows)
    assert split_rows(Dataset("made", "text", rows, "0"), fraction, seed) == (train, evaluation)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "from", "value", "user"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)
records = st.dictionaries(
    st.sampled_from(
        ["messages", "conversations", "instruction", "input", "output", "prompt", "completion"]
        + ["text", "history", "system"]
    ),
    values,
    max_size=4,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(content=st.lists(records | values, max_size=4).map(json.dumps) | st.text(string.printable))
def test_a_file_of_anything_is_read_or_refused_in_words(content, tmp_path):
    for name in ("rows.json", "rows.csv"):
        path = tmp_path / name
        path.write_text(content, "utf-8", newline="")
        try:
            dataset = load_dataset(DatasetSpec(source=str(path)), Settings(data_dir=tmp_path))
        except EngineError as refused:
            said = (refused.problem, refused.remedy)
        else:
            said = dataset.rows
        assert all(said)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    content=st.lists(records | values, max_size=4).map(json.dumps)
    | st.lists(records, max_size=4).map(lambda rows: "\n".join(map(json.dumps, rows)))
    | st.text(string.printable)
    | st.lists(st.lists(st.text('ab,;"\r\n 1\u00e9', max_size=5), min_size=2, max_size=4)).map(
        lambda rows: "\n".join(map(",".join, rows))
    )
)
def test_a_large_file_is_read_as_a_small_one(content, tmp_path):
    """From the file each time, rows on disk; or from memory: the same rows, or the same error."""
    for name in ("rows.json", "rows.csv", "rows.txt"):
        path = tmp_path / name
        path.write_text(content, "utf-8", newline="")
        found = []
        for most in (0, 10**9):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(record_files, "SMALL_BYTES", most)
                patch.setattr(row_cache, "LARGE_ROWS", most)
                patch.setattr(row_cache, "FRESH_S", 10**9)
                found.append(_read(path, Settings(data_dir=tmp_path)))
        assert found[0] == found[1]


def _read(path, settings):
    try:
        dataset = load_dataset(DatasetSpec(source=str(path)), settings)
    except EngineError as refused:
        return refused.problem, refused.remedy
    return dataset.format, tuple(dataset.rows), dataset.content_hash, dataset.warnings


TURN_KEYS = st.sampled_from(
    ["weight", "train", "loss_weight", "masked", "loss", "reasoning_content", "thinking"]
    + ["tool_calls", "function_call", "tools", "images", "refusal", "channel", "mask", "name"]
)
COLUMNS = st.sampled_from(
    ["system", "system_prompt", "tools", "functions", "images", "video", "chosen", "rejected"]
    + ["label", "kto_tag", "weight", "sample_weight", "score", "context", "instruction", "topic"]
)
meanings = (
    st.booleans()
    | st.sampled_from([0, 1, 0.5, 2, "0", "yes", "A text."])
    | st.sampled_from([["a.jpg"], [{"name": "f", "arguments": {"a": 1}}], {"name": "f"}])
)
# Values that say what is so anyway: this turn is learned, nothing is attached to it.
SAYS_NOTHING = {
    **dict.fromkeys(["weight", "train", "loss_weight", "loss"], (True, 1)),
    **dict.fromkeys(["masked", "images", "refusal"], (False,)),
    "masked": (False, 0, "0"),
}


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    in_turn=st.dictionaries(TURN_KEYS, meanings, max_size=1),
    columns=st.dictionaries(COLUMNS, meanings, max_size=1),
)
def test_nothing_that_changes_meaning_is_dropped_in_silence(in_turn, columns, tmp_path):
    path = tmp_path / "rows.jsonl"

    def read(in_turn, columns):
        answer = {"role": "assistant", "content": "Ho", **in_turn}
        row = {"messages": [{"role": "user", "content": "Hi"}, answer], **columns}
        path.write_text(json.dumps(row))
        return load_dataset(DatasetSpec(source=str(path)), Settings(data_dir=tmp_path))

    try:
        dataset = read(in_turn, columns)
    except EngineError as error:
        refusal, dataset = error.problem, None
    if dataset is None:
        assert any(key in refusal for key in [*in_turn, *columns])
        return
    said = " ".join([*dataset.warnings, *dataset.notes])
    plain = read({}, {}).rows
    if dataset.rows == plain:
        assert all(
            key in said or value in SAYS_NOTHING.get(key, ()) for key, value in in_turn.items()
        )
        assert all(key in said for key in columns)
