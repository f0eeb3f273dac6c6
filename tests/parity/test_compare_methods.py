"""Columns of other methods than LoRA answer and score as PEFT does, beside the batched ones."""

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, PreTrainedModel

from lora_engine.adapters.bottleneck_layers import load_bottleneck
from lora_engine.compare.generate import decode_passes as passes_module
from lora_engine.compare.generate.adapter_settings import AS_TRAINED, AdapterSettings
from lora_engine.compare.generate.comparison_model import AnswerRequest, ComparisonModel
from lora_engine.compare.scoring.column_proof import prove_columns
from lora_engine.compare.scoring.held_out_loss import row_losses
from lora_engine.compare.scoring.log_probabilities import next_token_logits
from lora_engine.compare.scoring.token_comparison import compare_tokens
from lora_engine.data import Message, TokenizedRow
from lora_engine.errors import EngineError
from lora_engine.generation import DecodeRow, Sampling, decode
from lora_engine.settings import Settings
from tests.compare_models import (
    OTHER_METHODS,
    VIRTUAL_TOKENS,
    byte_tokenizer,
    save_adapter,
    save_base,
    save_method_adapter,
)

SHORT = [Message("user", "Hello!")]
LONG = [Message("user", "Tell me a story of a fox, and then count: 1, 2, 3, 4.")]
NEW = 12
NO_CONV1D = ("gpt2", "loha")  # PEFT's LoHa knows nn.Linear alone
CASES = [
    (architecture, method)
    for architecture in ("llama", "gpt2")
    for method in OTHER_METHODS
    if (architecture, method) != NO_CONV1D
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("methods")


@pytest.fixture(scope="module")
def opened(folder):
    """By architecture: a model with a column for each method, and LoRA's."""
    made = {}

    def get(architecture: str) -> ComparisonModel:
        if architecture not in made:
            place = folder / architecture
            base = save_base(place / "base", architecture)
            columns = {
                method: save_method_adapter(place / method, base, method)
                for method in OTHER_METHODS
                if (architecture, method) in CASES
            }
            columns["lora"] = save_adapter(place / "lora", base)
            settings = Settings(data_dir=folder / "data", device="cpu")
            made[architecture] = ComparisonModel.load(base, columns, settings)
        return made[architecture]

    return get


def reference(model: ComparisonModel, column: str) -> PeftModel | PreTrainedModel:
    """PEFT's model; for bottlenecks, which PEFT has not, plain generation with the layers in."""
    base = AutoModelForCausalLM.from_pretrained(model.shared.base.path, dtype=torch.float32)
    if column == "bottleneck":
        return load_bottleneck(base, model.columns[column]).eval()
    return PeftModel.from_pretrained(base, model.columns[column]).eval()


def given(tokens) -> dict[str, torch.Tensor]:
    ids = torch.tensor([tokens])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def prompt_of(model, messages) -> list[int]:
    (prompt,) = model.tokens_of([messages])
    return prompt


def generated(model, column, messages) -> str:
    """What PEFT itself generates for one conversation, alone."""
    prompt, peft_model = prompt_of(model, messages), reference(model, column)
    output = peft_model.generate(**given(prompt), do_sample=False, max_new_tokens=NEW)
    tokens = output[0, len(prompt) :].tolist()
    tokens = tokens[: tokens.index(258)] if 258 in tokens else tokens
    return byte_tokenizer().decode(tokens, skip_special_tokens=True)


@pytest.mark.parametrize(("architecture", "method"), CASES)
def test_answers_are_peft_s_own(opened, monkeypatch, architecture, method):
    monkeypatch.setattr(decode, "PREFILL_CHUNK", 16)
    model = opened(architecture)
    requests = [
        AnswerRequest(f"{column} {number}", column, messages)
        for number, messages in enumerate((SHORT, LONG))
        for column in ("base", method, "lora")
    ]
    *_, last = model.answer_all(requests, Sampling(max_new_tokens=NEW))
    texts = {name: one.text for name, one in last.columns.items()}
    for column in (method, "lora"):
        wanted = [generated(model, column, messages) for messages in (SHORT, LONG)]
        assert [texts[f"{column} 0"], texts[f"{column} 1"]] == wanted
    assert texts["base 1"] != texts[f"{method} 1"]


def test_each_method_has_a_pass_of_its_own_and_the_rest_share_one(opened, monkeypatch):
    model = opened("llama")
    sizes = []
    made = passes_module.DecodePass.__init__

    def counted(self, shared, group):
        sizes.append(len(group))
        made(self, shared, group)

    monkeypatch.setattr(passes_module.DecodePass, "__init__", counted)
    columns = ("base", "prompt", "lora", "ia3")
    list(model.answer(dict.fromkeys(columns, SHORT), Sampling(max_new_tokens=2)))
    assert sizes == [2, 1, 1]


@pytest.mark.parametrize(("architecture", "method"), CASES)
def test_logits_losses_and_proof_are_those_of_peft(opened, architecture, method):
    model = opened(architecture)
    tokens = prompt_of(model, LONG)
    with model.shared.keep_loaded({method: model.columns[method]}) as keys:
        (found,) = next_token_logits(model, tokens, 1, model.variants(keys, {}))
    with torch.inference_mode():
        wanted = reference(model, method)(**given(tokens)).logits[0, -len(tokens) : -1]
    torch.testing.assert_close(found, wanted, atol=2e-4, rtol=1e-4)

    labels = [-100, *tokens[1:]]
    chosen = torch.tensor(tokens[1:])[:, None]
    loss = -float(wanted.log_softmax(-1).gather(-1, chosen).mean())
    alone = ComparisonModel(model.shared, {method: model.columns[method]})
    (row,) = row_losses(alone, [TokenizedRow(1, tuple(tokens), tuple(labels), truncated=False)])
    assert row.loss[method] == pytest.approx(loss, abs=1e-4)

    proof = prove_columns(alone, LONG)
    assert proof.base_is_base
    assert proof.adapters_differ


@pytest.mark.parametrize("method", ["prefix", "ia3"])
def test_tokens_are_compared(opened, method):
    model = opened("llama")
    alone = ComparisonModel(model.shared, {method: model.columns[method]})
    found = compare_tokens(alone, SHORT, "Hi there.")
    assert len(found.tokens) == len("Hi there.")


def logits_at(model, method, settings):
    with model.shared.keep_loaded({method: model.columns[method]}) as keys:
        variants = model.variants(keys, {method: settings})
        (found,) = next_token_logits(model, prompt_of(model, SHORT), 1, variants)
    return found


@pytest.mark.parametrize("method", ["ia3", "vera", "loha", "bottleneck"])
def test_strength_and_layers_of_modules(opened, method):
    model = opened("llama")
    assert model.check_adjustable(method) == [0, 1]
    whole = logits_at(model, method, AS_TRAINED)
    (base,) = next_token_logits(
        model, prompt_of(model, SHORT), 1, model.variants({"base": None}, {})
    )
    none = logits_at(model, method, AdapterSettings(strength=0.0))
    torch.testing.assert_close(none, base, atol=1e-4, rtol=1e-4)
    no_layer = logits_at(model, method, AdapterSettings(layers_off=frozenset({0, 1})))
    torch.testing.assert_close(no_layer, base, atol=0, rtol=0)
    parts = (AdapterSettings(strength=0.5), AdapterSettings(layers_off=frozenset({1})))
    for settings in parts:
        found = logits_at(model, method, settings)
        assert (found - base).abs().max() > 1e-2
        assert (found - whole).abs().max() > 1e-2


@pytest.mark.parametrize("method", VIRTUAL_TOKENS)
def test_virtual_tokens_have_no_strength(opened, method):
    model = opened("llama")
    with pytest.raises(EngineError, match="there is no strength"):
        model.check_column(method, AdapterSettings(strength=0.5))
    model.check_column(method, AS_TRAINED)


@pytest.mark.parametrize("method", ["prefix", "prompt"])
def test_virtual_tokens_count_towards_the_context(opened, method):
    model = opened("gpt2")  # learned positions: one beyond the context is an error of the model
    limit = model.shared.context_length
    fits = [Message("user", "a" * (limit - 60))]
    tokens = len(model.tokens_of([fits])[0])
    fits = [Message("user", "a" * (limit - 60 + limit - tokens - 8))]
    *_, last = model.answer({method: fits}, Sampling(max_new_tokens=NEW))
    assert last.columns[method].tokens == 3
    assert last.columns[method].finished == "context full"
    full = [Message("user", fits[0].content + "aaaa")]
    with pytest.raises(EngineError, match="puts 5 before"):
        model.answer({method: full}, Sampling(max_new_tokens=NEW))
    prompt = model.tokens_of([full])[0]
    with (
        model.shared.keep_loaded({method: model.columns[method]}) as keys,
        pytest.raises(EngineError, match="virtual"),
    ):
        list(next_token_logits(model, prompt, 1, model.variants(keys, {})))


def test_an_adapter_is_taken_out_again(opened):
    model = opened("llama")
    names = [name for name, _ in model.shared.model.named_modules()]
    with model.shared.keep_loaded({"ia3": model.columns["ia3"]}) as keys:
        assert model.shared.switch.needs_own_pass(keys["ia3"])
    model.shared.switch.remove(keys["ia3"])
    assert not model.shared.switch.needs_own_pass(keys["ia3"])
    assert [name for name, _ in model.shared.model.named_modules()] == names


def scored_rows(prompts):
    sampling = Sampling(max_new_tokens=NEW)
    return [
        DecodeRow(prompt, NEW, "token limit", sampling, likeliest=2, scores_prompt=True)
        for prompt in prompts
    ]


@pytest.mark.parametrize("method", ["prefix", "prompt"])
def test_scores_in_a_padded_and_joined_batch_are_those_of_peft(opened, method):
    model = opened("llama")
    shared, rows = (
        model.shared,
        scored_rows([prompt_of(model, LONG), prompt_of(model, SHORT), [72, 105]]),
    )
    with shared.keep_loaded({method: model.columns[method]}) as keys:
        first = passes_module.decode_batch(shared, rows[:2], keys[method], ends=False)
        second = passes_module.decode_batch(shared, rows[2:], keys[method], ends=False)
        while first.reads_prompts or second.reads_prompts:
            for one in (first, second):
                one.advance()
        first.join(second, rows.index)
        while not first.done:
            first.advance()
    peft_model = reference(model, method)
    for row in rows:
        tokens = [*row.prompt, *row.tokens]
        with torch.inference_mode():
            logits = peft_model(**given(tokens)).logits[0, -len(tokens) : -1].log_softmax(-1)
        wanted = logits.gather(-1, torch.tensor(tokens[1:])[:, None])[:, 0].tolist()
        found = [one.log_probability for one in (*row.prompt_scores, *row.scores)]
        assert found == pytest.approx(wanted, abs=1e-3)
