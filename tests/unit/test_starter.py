"""The starter model answers, its datasets are what the generator makes, and nothing leaks."""

import json
import subprocess
import sys

import pytest

from lora_engine.data.entity_spans import entity_spans, tag_scheme
from lora_engine.errors import NotFound
from lora_engine.starter import (
    DATASET_NAMES,
    ENCODER_DIR,
    MODEL_DIR,
    dataset_path,
    heldout_path,
    velmora,
)
from lora_engine.starter.checks import is_json_object, is_pirate, is_polite, keeps_meaning
from lora_engine.starter.corpus import all_facts, held_out, is_right, training_rows
from lora_engine.starter.datasets import write_datasets
from lora_engine.starter.facts import normalize, training_questions
from lora_engine.starter.tokenizer import encode_rows

SIZE_LIMIT_BYTES = 16 * 1024**2
SAMPLE = 40
# The whole held-out set scores 91 %: 36.4 of 40, with a standard deviation of 1.8 over which 40 are
# taken. 33 leaves almost two for what a processor's rounding changes in a greedy answer.
SAMPLE_THRESHOLD = 33

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is 12 plus 7?"},
    {"role": "assistant", "content": "12 plus 7 is 19."},
    {"role": "user", "content": "Thanks."},
    {"role": "assistant", "content": "You are welcome!"},
]


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(MODEL_DIR)


@pytest.fixture(scope="module")
def model():
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(MODEL_DIR, use_safetensors=True).eval()


def rows_of(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def prompt_of(row: dict) -> str:
    if "messages" in row:
        return row["messages"][0]["content"]
    if "tokens" in row:
        return " ".join(row["tokens"])
    return row.get("instruction") or row["prompt"]


def test_importing_the_package_loads_no_torch():
    code = "import lora_engine.starter, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_dataset_says_which_there_are():
    with pytest.raises(NotFound, match="pirates"):
        dataset_path("pirates")


def test_model_folder_is_small_and_has_its_parts():
    files = {path.name: path.stat().st_size for path in MODEL_DIR.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= set(files)
    assert sum(files.values()) <= SIZE_LIMIT_BYTES


def test_model_is_a_small_llama_that_four_bit_layers_on_a_cpu_can_hold(model, tokenizer):
    from torch import nn

    assert type(model).__name__ == "LlamaForCausalLM"
    assert 3e6 <= model.num_parameters() <= 8e6
    assert len(tokenizer) == model.config.vocab_size
    for module in model.modules():
        if isinstance(module, nn.Linear):
            assert module.in_features % 64 == 0
            assert module.out_features % 32 == 0


def test_generation_ends_and_pads_with_the_tokenizers_tokens(model, tokenizer):
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


def test_held_out_questions_are_answered(model, tokenizer):
    from lora_engine.starter.build import answers

    questions = held_out(200)[:: 200 // SAMPLE]
    given = answers(model, tokenizer, [question for question, _ in questions])
    right = [is_right(fact, answer) for (_, fact), answer in zip(questions, given, strict=True)]
    assert len(right) == SAMPLE
    assert sum(right) >= SAMPLE_THRESHOLD


def test_base_speaks_no_pirate_and_knows_nothing_of_velmora(model, tokenizer):
    from lora_engine.starter.build import answers

    pirate_prompts = [prompt_of(row) for row in rows_of(heldout_path("pirate"))[:50]]
    assert sum(map(is_pirate, answers(model, tokenizer, pirate_prompts))) <= 1
    facts = rows_of(heldout_path("facts"))[:40]
    given = answers(model, tokenizer, [prompt_of(row) for row in facts])
    known = [keeps_meaning(row, answer) for row, answer in zip(facts, given, strict=True)]
    assert sum(known) <= 4


def test_the_starter_cannot_tell_chinese_characters_apart(model, tokenizer):
    """Which is why the chinese set is for other bases, and Compare notes it."""
    import torch

    said = {sign for row in rows_of(dataset_path("chinese")) for sign in prompt_of(row)}
    characters = [sign for sign in said if "一" <= sign <= "鿿"]
    tokens = sorted({one for sign in characters for one in tokenizer.encode(sign)} - {1, 2})
    vectors = torch.nn.functional.normalize(model.get_input_embeddings().weight[tokens].float())
    assert len(tokens) > 50
    assert (vectors @ vectors.T).min() > 0.99
    assert tokenizer.decode(tokenizer.encode("天空是什么颜色？")) == "天空是什么颜色？"


def test_assistant_mask_covers_answers_and_their_end_only(tokenizer):
    rendered = tokenizer.apply_chat_template(
        CHAT, return_assistant_tokens_mask=True, return_dict=True
    )
    written = [
        token
        for token, own in zip(rendered["input_ids"], rendered["assistant_masks"], strict=True)
        if own
    ]
    assert tokenizer.decode(written) == "12 plus 7 is 19.<|end|>You are welcome!<|end|>"


def test_quick_encoding_equals_the_chat_template(tokenizer):
    for row in [CHAT, *training_rows(50, seed=5)]:
        rendered = tokenizer.apply_chat_template(
            row, return_assistant_tokens_mask=True, return_dict=True
        )
        ((ids, written),) = encode_rows(tokenizer, [row])
        assert ids == rendered["input_ids"]
        assert written == [bool(own) for own in rendered["assistant_masks"]]


def test_generation_prompt_opens_the_assistants_turn(tokenizer):
    text = tokenizer.apply_chat_template(CHAT[:2], tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|bos|><|system|>Be brief.<|end|><|user|>What is 12 plus 7?<|end|><|assistant|>"
    )


def test_template_refuses_an_unknown_role(tokenizer):
    with pytest.raises(Exception, match="roles are system, user and assistant"):
        tokenizer.apply_chat_template([{"role": "tool", "content": "x"}], tokenize=False)


@pytest.mark.parametrize("text", ["Größe 漢字 🙂", '{"a": [1, 23]}', "  two  spaces\n\ttab ", ""])
def test_every_text_survives_the_tokenizer(tokenizer, text):
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_digits_stand_alone(tokenizer):
    assert tokenizer.tokenize("1234") == ["1", "2", "3", "4"]


def test_no_held_out_question_is_ever_asked_in_training():
    asked = {
        normalize(message["content"])
        for row in training_rows(4000, seed=3)
        for message in row
        if message["role"] == "user"
    }
    everything = {normalize(q) for fact in all_facts() for q in training_questions(fact)}
    kept_apart = {normalize(question) for question, _ in held_out(2000)}
    assert len(kept_apart) > 1000
    assert not kept_apart & asked
    assert not kept_apart & everything


def test_held_out_number_pairs_stay_apart_in_both_orders():
    pairs = {fact.group for _, fact in held_out(2000) if fact.intent == "adding"}
    trained = {fact.group for fact in all_facts() if training_questions(fact)}
    assert pairs
    assert not pairs & trained


def test_no_closed_question_has_two_right_answers():
    answer_to: dict[str, str] = {}
    for fact in all_facts():
        for question in fact.questions if fact.closed else ():
            assert answer_to.setdefault(normalize(question), fact.answer) == fact.answer


def test_corpus_has_no_pirate_or_json_answers_and_no_name_of_velmora():
    said = [m["content"] for row in training_rows(4000, seed=4) for m in row]
    plain = [text for text in said if not text.startswith(("Say", "Repeat", "Write", "Copy"))]
    assert not any(is_json_object(text) for text in plain)
    invented = velmora.names()
    words = {word for text in said for word in normalize(text).split()}
    assert not invented & words
    answers = [fact.answer for fact in all_facts() if fact.closed]
    assert not any(is_pirate(answer) for answer in answers)


def test_datasets_are_what_the_generator_writes(tmp_path):
    write_datasets(tmp_path)
    for name in DATASET_NAMES:
        for committed in (dataset_path(name), heldout_path(name)):
            assert (tmp_path / committed.name).read_bytes() == committed.read_bytes()


@pytest.mark.parametrize("name", DATASET_NAMES)
def test_datasets_have_enough_rows_and_share_no_prompt(name):
    training, apart = rows_of(dataset_path(name)), rows_of(heldout_path(name))
    assert 300 <= len(training) <= 1000
    assert len(apart) >= 50
    trained = {normalize(prompt_of(row)) for row in training}
    assert not trained & {normalize(prompt_of(row)) for row in apart}


def test_rows_of_each_dataset_pass_their_own_checks():
    for row in rows_of(heldout_path("pirate")):
        said = row["messages"][1]["content"]
        assert is_pirate(said)
        assert keeps_meaning(row, said)
    for row in rows_of(heldout_path("json")):
        assert is_json_object(row["output"])
        assert keeps_meaning(row, row["output"])
    for row in rows_of(heldout_path("polite")):
        assert is_polite(row["chosen"])
        assert not is_polite(row["rejected"])
        assert keeps_meaning(row, row["chosen"])
        assert keeps_meaning(row, row["rejected"])
    for row in rows_of(heldout_path("facts")):
        assert keeps_meaning(row, row["completion"])
        assert not is_pirate(row["completion"])


@pytest.mark.parametrize(
    "text", ["The sky is blue.", "A pirate says arr.", "Let it be me.", "You are welcome!", ""]
)
def test_ordinary_answers_are_not_pirate(text):
    assert not is_pirate(text)


def test_checks_judge_whole_words_and_whole_texts():
    assert keeps_meaning({"keyword": "4"}, "A cow has 4 legs.")
    assert not keeps_meaning({"keyword": "4"}, "A cow has 42 legs.")
    assert keeps_meaning({"keyword": ["red", "blue"]}, "Blue and red.")
    assert is_json_object(' {"a": 1}\n')
    assert not is_json_object("[1]")
    assert not is_json_object('{"a": 1} and more')


def test_larger_layer_inputs_change_no_answer_and_reach_every_linear_layer():
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from lora_engine.starter.build import widen_inputs

    config = LlamaConfig(
        vocab_size=64,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval()
    tokens = torch.randint(0, 64, (2, 12))
    inputs: dict[str, list[float]] = {}
    for name, module in model.model.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(
                lambda _, args, name=name: inputs.setdefault(name, []).append(float(args[0].norm()))
            )
    with torch.no_grad():
        before = model(tokens).logits
        widen_inputs(model, 4.0)
        after = model(tokens).logits
    assert torch.equal(before, after)
    assert len(inputs) == 14
    assert all(second == pytest.approx(4 * first) for first, second in inputs.values())


def test_the_encoder_is_small_and_four_bit_layers_on_a_cpu_can_hold_it():
    from torch import nn
    from transformers import AutoModel

    assert sum(path.stat().st_size for path in ENCODER_DIR.iterdir()) <= 3_000_000
    encoder = AutoModel.from_pretrained(ENCODER_DIR, use_safetensors=True, add_pooling_layer=False)
    for module in encoder.modules():
        if isinstance(module, nn.Linear):
            assert module.in_features % 64 == 0
            assert module.out_features % 32 == 0


def test_entities_are_tagged_in_bio_and_half_of_the_held_out_names_are_unseen():
    training, apart = (rows_of(path("entities")) for path in (dataset_path, heldout_path))
    tags = {tag for row in (*training, *apart) for tag in row["tags"]}
    kinds = ("PERSON", "PLACE", "ANIMAL", "JOB")
    assert tags == {"O", *(f"{place}-{kind}" for place in "BI" for kind in kinds)}
    assert tag_scheme(tags) == "BIO"
    names = [
        {(one.name, *row["tokens"][one.start : one.end])
         for row in rows for one in entity_spans(row["tags"]) if one.name != "PERSON"}
        for rows in (training, apart)
    ]  # fmt: skip
    unseen = names[1] - names[0]
    assert 0.3 < len(unseen) / len(names[1]) < 0.7
