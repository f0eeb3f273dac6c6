"""Trained tokens before every row, and modules of other methods: answers equal PEFT's own."""

import copy

import peft
import pytest
import torch
from peft import get_peft_model, get_peft_model_state_dict
from transformers import AutoConfig, AutoModelForCausalLM

from lora_engine.compare.generate.adapter_settings import AS_TRAINED, AdapterSettings
from lora_engine.compare.generate.other_methods import modules_on, virtual_tokens_on
from lora_engine.errors import EngineError
from lora_engine.generation.decode import DecodeBatch, DecodeRow
from lora_engine.generation.sampling import Sampling
from tests.compare_models import TINY

pytestmark = pytest.mark.filterwarnings("ignore")

SIZES = {**TINY, "vocab_size": 40, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
ARCHITECTURES = {
    "llama": AutoConfig.for_model("llama", **SIZES),
    "gpt2": AutoConfig.for_model(
        "gpt2", vocab_size=40, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=1,
        eos_token_id=2, pad_token_id=0, initializer_range=0.25, tie_word_embeddings=False,
    ),
}  # fmt: skip
TOKENS = {"task_type": "CAUSAL_LM", "num_virtual_tokens": 5}
VIRTUAL = {
    "prefix": peft.PrefixTuningConfig(**TOKENS),
    "projected": peft.PrefixTuningConfig(**TOKENS, prefix_projection=True, encoder_hidden_size=8),
    "prompt": peft.PromptTuningConfig(**TOKENS),
    "p_tuning": peft.PromptEncoderConfig(**TOKENS, encoder_hidden_size=8),
}
MODULES = {
    "ia3": lambda targets: peft.IA3Config(
        task_type="CAUSAL_LM", target_modules=targets, feedforward_modules=targets[-1:]
    ),
    "vera": lambda targets: peft.VeraConfig(
        task_type="CAUSAL_LM", r=4, target_modules=targets, projection_prng_key=3
    ),
    "loha": lambda targets: peft.LoHaConfig(
        task_type="CAUSAL_LM", r=2, alpha=4, target_modules=targets
    ),
}
TARGETS = {"llama": ["q_proj", "down_proj"], "gpt2": ["c_attn", "c_proj"]}
NO_CONV1D = ("gpt2", "loha")  # PEFT's LoHa knows nn.Linear alone
PROMPTS = [[5, 9, 13], [7, 3, 11, 19, 23, 29, 4], [8]]
NEW = 9


def model_of(architecture):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(ARCHITECTURES[architecture]).float().eval()


def trained(model, config):
    """A PEFT model with random numbers in everything that trains, and what it saves."""
    torch.manual_seed(1)
    made = get_peft_model(copy.deepcopy(model), copy.deepcopy(config)).eval()
    for name, parameter in made.named_parameters():
        if parameter.requires_grad:
            parameter.data.normal_(1.0 if "ia3" in name else 0.0, 0.5)
    return made, get_peft_model_state_dict(made)


def peft_answers(model, prompts=PROMPTS):
    """PEFT's own greedy answers, each prompt alone; ended by the length alone."""
    answers = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "do_sample": False}
        out = model.generate(**given, min_new_tokens=NEW, max_new_tokens=NEW, eos_token_id=None)
        answers.append(out[0, len(prompt) :].tolist())
    return answers


def rows_of(prompts=PROMPTS, **changes):
    sampling = Sampling(max_new_tokens=NEW, temperature=0.0)
    return [DecodeRow(prompt, NEW, "token limit", sampling, **changes) for prompt in prompts]


def decoded(model, rows, virtual=None):
    accepted = frozenset(("attention_mask", "position_ids", "past_key_values", "use_cache"))
    batch = DecodeBatch(model, rows, frozenset(), accepted, virtual)
    while not batch.done:
        batch.advance()
    return [row.tokens for row in rows]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("method", VIRTUAL)
def test_one_batch_answers_as_peft_does_row_by_row(architecture, method):
    model = model_of(architecture)
    reference, saved = trained(model, VIRTUAL[method])
    config = reference.peft_config["default"]
    virtual = virtual_tokens_on(model, config, saved).virtual
    answers = decoded(model, rows_of(), virtual)
    reloaded = peft_model_from(model, config, saved)
    assert answers == peft_answers(reloaded)
    assert answers != decoded(model, rows_of())


def peft_model_from(model, config, saved):
    config = copy.deepcopy(config)
    config.inference_mode = True
    made = peft.PeftModelForCausalLM(copy.deepcopy(model), config)
    peft.set_peft_model_state_dict(made, saved)
    return made.eval()


@pytest.mark.parametrize(
    ("architecture", "method"),
    [(one, method) for one in ARCHITECTURES for method in MODULES if (one, method) != NO_CONV1D],
)
def test_modules_act_within_and_the_base_is_bare_outside(architecture, method):
    model = model_of(architecture)
    before = decoded(model, rows_of())
    names = [name for name, _ in model.named_modules()]
    reference, saved = trained(model, MODULES[method](TARGETS[architecture]))
    made, left_out = modules_on(model, reference.peft_config["default"], saved)
    assert left_out == []
    assert [name for name, _ in model.named_modules()] == names
    with made.applied(AS_TRAINED):
        answers = decoded(model, rows_of())
    assert answers == peft_answers(reference)
    assert answers != before
    assert decoded(model, rows_of()) == before


def logits(model, prompt=PROMPTS[1]):
    with torch.inference_mode():
        return model(input_ids=torch.tensor([prompt])).logits


@pytest.mark.parametrize("method", MODULES)
def test_strength_and_layers_of_modules(method):
    model = model_of("llama")
    base = logits(model)
    reference, saved = trained(model, MODULES[method](TARGETS["llama"]))
    made, _ = modules_on(model, reference.peft_config["default"], saved)
    whole = logits(reference)
    found = {}
    for name, settings in {
        "whole": AS_TRAINED,
        "none": AdapterSettings(strength=0.0),
        "half": AdapterSettings(strength=0.5),
        "no layer": AdapterSettings(layers_off=frozenset({0, 1})),
        "one layer": AdapterSettings(layers_off=frozenset({1})),
    }.items():
        with made.applied(settings):
            found[name] = logits(model)
    torch.testing.assert_close(found["whole"], whole, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found["none"], base, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found["no layer"], base, atol=0, rtol=0)
    for name in ("half", "one layer"):
        assert (found[name] - base).abs().max() > 1e-4
        assert (found[name] - whole).abs().max() > 1e-4


def test_scores_of_a_prompt_are_those_of_peft():
    model = model_of("llama")
    reference, saved = trained(model, VIRTUAL["prompt"])
    virtual = virtual_tokens_on(model, reference.peft_config["default"], saved).virtual
    rows = rows_of(likeliest=2, scores_prompt=True)
    decoded(model, rows, virtual)
    for row in rows:
        ids = torch.tensor([[*row.prompt, *row.tokens]])
        with torch.inference_mode():
            given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            wanted = reference(**given).logits[0, 5:-1].log_softmax(-1)
        wanted = wanted.gather(-1, ids[0, 1:, None])[:, 0].tolist()
        found = [one.log_probability for one in (*row.prompt_scores, *row.scores)]
        assert found == pytest.approx(wanted, abs=1e-4)


def test_batches_with_virtual_tokens_join():
    model = model_of("llama")
    reference, saved = trained(model, VIRTUAL["prefix"])
    virtual = virtual_tokens_on(model, reference.peft_config["default"], saved).virtual
    accepted = frozenset(("attention_mask", "position_ids", "past_key_values", "use_cache"))
    rows = rows_of()
    first = DecodeBatch(model, rows[:2], frozenset(), accepted, virtual)
    first.advance()
    first.advance()
    second = DecodeBatch(model, rows[2:], frozenset(), accepted, virtual)
    second.advance()
    first.join(second, lambda row: rows.index(row))
    while not first.done:
        first.advance()
    assert [row.tokens for row in rows] == decoded(model, rows_of(), virtual)


@pytest.mark.parametrize("method", ["prefix", "prompt"])
def test_virtual_tokens_of_another_model_are_refused(method):
    other = {**SIZES, "hidden_size": 64, "num_key_value_heads": 4}
    torch.manual_seed(0)
    wider = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **other))
    reference, saved = trained(model_of("llama"), VIRTUAL[method])
    with pytest.raises(EngineError) as refused:
        virtual_tokens_on(wider, reference.peft_config["default"], saved)
    assert refused.value.remedy
