"""The preview: the rows as the model sees them, measurements, and warnings in words."""

import json
from dataclasses import asdict

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from lora_engine.data import preview, preview_rows
from lora_engine.errors import EngineError
from lora_engine.settings import Settings
from lora_engine.spec import DatasetSpec

CHATML = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""


@pytest.fixture(scope="module")
def tokenizer():
    """One token a byte, spaces trimmed from the offsets as GPT-2's are."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.ByteLevel(trim_offsets=True)
    trainer = trainers.BpeTrainer(
        special_tokens=["<s>", "</s>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        vocab_size=260,
        show_progress=False,
    )
    made.train_from_iterator([], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")
    fast.chat_template = CHATML
    return fast


@pytest.fixture
def show(tmp_path, tokenizer):
    settings = Settings(data_dir=tmp_path, models_dir=tmp_path)

    def made(pairs, max_length=512, n=3, name="rows.jsonl"):
        path = tmp_path / name
        path.write_text(
            "\n".join(json.dumps({"prompt": a, "completion": b}) for a, b in pairs)
            if name.endswith("jsonl")
            else pairs
        )
        return preview(DatasetSpec(source=str(path)), tokenizer, max_length, n, settings)

    return made


def test_an_example_shows_every_token_with_its_flags(show):
    made = show([("Hi", "Hé ho 🦜")])
    (example,) = made.examples
    text = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHé ho 🦜<|im_end|>\n"
    assert example.text == text
    assert "".join(token.text for token in example.tokens) == text
    # "Hé ho 🦜" is 11 bytes, and one token ends the turn
    assert example.supervised_tokens == sum(token.supervised for token in example.tokens) == 12
    assert "".join(token.text for token in example.tokens if token.supervised) == (
        "Hé ho 🦜<|im_end|>"
    )
    assert [token.text for token in example.tokens if token.special] == [
        "<|im_start|>",
        "<|im_end|>",
        "<|im_start|>",
        "<|im_end|>",
    ]
    assert example.total_tokens == example.kept_tokens == len(example.tokens)
    assert not example.truncated
    assert made.supervised_share == pytest.approx(12 / example.total_tokens)


def test_json_has_the_keys_people_script_against(show):
    document = json.loads(json.dumps(asdict(show([("Hi", "Ho")] * 5, n=2))))
    assert document["format"] == "prompt_completion"
    assert document["rows"] == 5
    assert len(document["examples"]) == 2
    assert {"text", "supervised_tokens", "total_tokens", "truncated"} <= set(
        document["examples"][0]
    )


def test_truncation_is_struck_counted_and_said(show):
    made = show([("Hi", "x" * 100), ("y" * 100, "Ho"), ("Hi", "Ho")], max_length=48)
    first, second, third = made.examples
    assert first.truncated
    assert second.truncated
    assert not third.truncated
    assert (first.total_tokens, first.kept_tokens) == (third.total_tokens + 98, 48)
    assert [token.kept for token in first.tokens] == [True] * 48 + [False] * (
        len(first.tokens) - 48
    )
    assert second.supervised_tokens == 0
    assert (made.truncated_rows, made.dropped_rows) == (2, 1)
    assert made.warnings[0] == "67 % of rows lose a part to truncation at 48 tokens (2 of 3)."
    assert made.warnings[1] == (
        "33 % of rows lose their whole answer to truncation at 48 tokens and are left out: "
        "1 row (2)."
    )


def test_duplicates_empty_answers_and_control_tokens_are_said(show):
    made = show([("Hi", "Ho"), ("Hi", "Ho"), ("a", " "), ("b<|im_end|>", "c")])
    assert (made.duplicate_rows, made.empty_answers) == (1, 1)
    assert made.warnings == (
        "The same as an earlier row: 1 row (2). The evaluation split keeps rows that are the same "
        "on one side.",
        "With an empty answer, which teaches to say nothing: 1 row (3).",
        "With the model's control tokens in the text, which the model takes for structure: "
        "1 row (4).",
    )


def test_marks_in_whose_place_others_put_a_picture_are_said(show):
    pairs = [
        ("<image> What is it?", "a"),
        ("b", "![](data:image/png;base64,iVBO)"),
        ("<img src=x>", "c"),
    ]
    (warning,) = show(pairs).warnings
    assert "no picture" in warning
    assert "2 rows (1, 2)" in warning


def test_an_empty_rejected_answer_is_said(show):
    rows = "prompt,chosen,rejected\nHi,Ho,\nHa,He,No\n"
    (warning,) = show(rows, name="pairs.csv").warnings
    assert "rejected" in warning
    assert "1 row (1)" in warning


def test_rows_without_the_thoughts_that_the_template_opens_are_said(show, tokenizer, monkeypatch):
    opening = CHATML.replace("assistant\\n'", "assistant\\n<think>\\n'")
    assert opening != CHATML
    monkeypatch.setattr(tokenizer, "chat_template", opening)
    thoughtful = [(asked, "A greeting.\n</think>\nHo") for asked in ("Hi", "Ha")]
    assert show(thoughtful).warnings == ()
    (warning,) = show([*thoughtful, ("He", "Ho")], name="both.jsonl").warnings
    assert "<think>" in warning
    assert "1 row (3)" in warning


def test_histogram_counts_every_row_once(show):
    made = show([("Hi", "x" * n) for n in range(1, 60)])
    assert sum(bar.rows for bar in made.length_histogram) == 59
    assert len(made.length_histogram) <= preview_rows.HISTOGRAM_BARS
    assert all(
        bar.end == following.start
        for bar, following in zip(made.length_histogram, made.length_histogram[1:], strict=False)
    )


def test_a_large_set_is_measured_on_its_beginning_and_says_so(show, monkeypatch):
    monkeypatch.setattr(preview_rows, "MAX_MEASURED_ROWS", 4)
    made = show([(f"Hi {n}", "Ho") for n in range(9)])
    assert (made.rows, made.measured_rows) == (9, 4)
    assert made.warnings == ("Measured on the first 4 of 9 rows.",)


def test_plain_text_is_supervised_but_for_its_first_token(show):
    made = show("Once upon a time.\n", name="story.txt", max_length=8)
    (example,) = made.examples
    assert made.template == ""
    assert [token.text for token in example.tokens][:3] == ["<s>", "O", "n"]
    assert example.tokens[-1].text == "</s>"
    assert example.supervised_tokens == example.total_tokens - 1
    assert not example.truncated


def test_a_row_without_answer_is_shown_empty_and_said(show, tokenizer, tmp_path):
    path = tmp_path / "chat.jsonl"
    user = {"role": "user", "content": "Hi"}
    answer = {"role": "assistant", "content": "Ho"}
    path.write_text(
        "\n".join(json.dumps({"messages": turns}) for turns in ([user], [user, answer]))
    )
    made = preview(DatasetSpec(source=str(path)), tokenizer, 64, 2, Settings(data_dir=tmp_path))
    assert made.dropped_rows == 1
    assert made.warnings == ("Left out, because no turn is the assistant's: 1 row (1).",)
    path.write_text(json.dumps({"messages": [user]}))
    with pytest.raises(EngineError, match="None of the 1 rows"):
        preview(DatasetSpec(source=str(path)), tokenizer, 64, 2, Settings(data_dir=tmp_path))


def test_what_a_file_says_and_the_setting_of_thoughts_are_seen(tmp_path, tokenizer):
    path = tmp_path / "rows.jsonl"
    thought = {"prompt": "Hi", "completion": "<think>\nHm.\n</think>\n\nHo", "id": 1, "score": 0.5}
    path.write_text(json.dumps(thought))
    settings = Settings(data_dir=tmp_path, models_dir=tmp_path)
    seen = {}
    for setting in ("learn", "keep", "strip"):
        spec = DatasetSpec(source=str(path), reasoning=setting)
        made = preview(spec, tokenizer, 512, 1, settings)
        assert "id" in made.notes[0]
        assert any("'score'" in warning for warning in made.warnings)
        (example,) = made.examples
        learned = "".join(token.text for token in example.tokens if token.supervised)
        seen[setting] = learned, "Hm." in example.text
    assert seen == {
        "learn": ("<think>\nHm.\n</think>\n\nHo<|im_end|>", True),
        "keep": ("Ho<|im_end|>", True),
        "strip": ("Ho<|im_end|>", False),
    }
