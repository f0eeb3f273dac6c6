"""Memory: contract keys, physical items by hand, cards, make-it-fit, work, and bad questions."""

import json

import pytest

from lora_engine import calculator
from lora_engine.calculator import preset_source
from lora_engine.calculator.memory import estimate_from, estimate_memory
from lora_engine.calculator.memory_fit import verdicts
from lora_engine.calculator.memory_options import MemoryOptions, estimate_json
from lora_engine.calculator.memory_request import MemoryRequest, read_method, with_changes
from lora_engine.calculator.model_profile import read_profile, trained_parameters
from lora_engine.calculator.optimizer_state import OptimizerState, state_of
from lora_engine.errors import InvalidInput
from lora_engine.language import speaking
from lora_engine.spec import QuantizationSpec
from tests.calculator_requests import FP4, INT8, NF4, ask, lora

GIB = 1 << 30
LLAMA = preset_source("llama-2-7b")
CHOICE = lora(16, "all-linear")
BASE, ADAPTER = 6_738_415_616, 39_976_960


@pytest.fixture(scope="module")
def profile():
    return read_profile(LLAMA, CHOICE)


def estimate(profile, **fields):
    return estimate_from(profile, ask(LLAMA, CHOICE, **fields))


def items(estimated):
    return {item.name: item.gib for item in estimated.items}


def test_contract_keys():
    request = ask(LLAMA, CHOICE, seq_length=2048, dtype="bfloat16")
    found = json.loads(json.dumps(estimate_json(calculator.estimate_memory(request))))
    assert found.keys() >= {"total_gib", "items"}
    assert all(item.keys() >= {"name", "gib", "formula"} for item in found["items"])
    assert sum(item["gib"] for item in found["items"]) == pytest.approx(found["total_gib"])
    assert all(item["formula"] for item in found["items"])


def test_lora_by_hand(profile):
    found = items(estimate(profile))
    assert found["weights"] == BASE * 2 / GIB
    assert found["adapter"] == ADAPTER * 4 / GIB
    assert found["gradients"] == ADAPTER * 4 / GIB
    assert found["optimizer state"] == ADAPTER * 8 / GIB


def test_qlora_by_hand(profile):
    packed = 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    found = items(estimate(profile, quantization=NF4))
    assert found["weights in NF4"] == packed / 2 / GIB
    assert found["NF4 constants"] == (packed / 64 + packed / 64 / 256 * 4) / GIB
    assert found["weights not quantized"] == (BASE - packed) * 4 / GIB
    plain = items(estimate(profile, quantization=NF4 | {"double": False}))
    assert plain["NF4 constants"] == packed / 64 * 4 / GIB


def test_8_bits_are_a_byte_a_weight_and_a_scale_a_row(profile):
    packed = 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    rows = 32 * (4 * 4096 + 2 * 11008 + 4096)
    found = items(estimate(profile, quantization=INT8))
    assert found["weights in int8"] == packed / GIB
    assert found["int8 scales"] == 4 * rows / GIB
    assert found["weights not quantized"] == (BASE - packed) * 4 / GIB
    assert not any("NF4" in name for name in found)
    nf4 = items(estimate(profile, quantization=NF4))
    # LLM.int8() keeps what each layer reads; our own 4-bit path shares it between layers.
    assert found["activations"] > nf4["activations"]


def test_fp4_is_called_fp4(profile):
    nf4, fp4 = (items(estimate(profile, quantization=kind)) for kind in (NF4, FP4))
    assert fp4["weights in FP4"] == nf4["weights in NF4"]
    assert fp4["FP4 constants"] == nf4["NF4 constants"]


def test_biases_of_the_base_count_once_and_train():
    gpt2 = preset_source("gpt2")
    plain, biased = (lora(8, "c_attn", bias=bias) for bias in ("none", "all"))
    extra = read_profile(gpt2, biased).count.bias_parameters
    assert extra > 0
    before, after = (
        items(calculator.estimate_memory(ask(gpt2, method, dtype="bfloat16")))
        for method in (plain, biased)
    )
    assert after["weights"] == pytest.approx(before["weights"] - 2 * extra / GIB)
    assert after["adapter"] == pytest.approx(before["adapter"] + 4 * extra / GIB)
    assert after["gradients"] == pytest.approx(before["gradients"] + 4 * extra / GIB)
    assert after["optimizer state"] == pytest.approx(before["optimizer state"] + 8 * extra / GIB)


def test_full_is_16_bytes_a_parameter_in_float32(profile):
    found = items(estimate(profile, kind="full", dtype="float32"))
    whole = found["weights"] + found["gradients"] + found["optimizer state"]
    assert whole == pytest.approx(BASE * 16 / GIB)
    assert "autocast copies" not in found


def test_freeze_trains_the_last_layers_only(profile):
    request = ask(LLAMA, CHOICE, kind="freeze")
    assert request.method.freeze_layers == 2
    assert trained_parameters(profile, request) == 2 * 202_383_360
    two = items(estimate_from(profile, request))
    four = items(estimate_from(profile, with_changes(request, {"method.freeze_layers": 4})))
    assert four["activations"] == pytest.approx(2 * two["activations"])


def test_checkpointing_keeps_one_input_a_layer(profile):
    found = items(estimate(profile, gradient_checkpointing=True, seq_length=1000))
    assert found["activations"] == pytest.approx(1000 * 32 * 4096 * 2 / GIB)
    assert found["activations"] < items(estimate(profile, seq_length=1000))["activations"] / 10


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"model_type": "mamba", "state_size": 8}, "state-space"),
        ({"model_type": "recurrent_gemma", "lru_width": 64}, "recurrent"),
        ({"model_type": "rwkv", "attention_hidden_size": 64}, "recurrent"),
        ({"model_type": "bloom", "n_layer": 2, "n_head": 4}, "scaled-dot-product"),
        ({"model_type": "mixtral", "num_local_experts": 4}, "experts"),
        (
            {"model_type": "deepseek_v3", "kv_lora_rank": 16, "n_routed_experts": 4, "n_group": 1},
            "latent",
        ),
    ],
)
def test_layers_whose_activations_no_rule_describes_are_said(sizes, said):
    common = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    source = calculator.config_source(common | {"vocab_size": 512} | sizes)
    request = ask(source, lora(4), kind="full")
    warnings = calculator.estimate_memory(request).warnings
    assert any(said in warning and "not modelled" in warning for warning in warnings)
    assert not any(
        "not modelled" in w for w in calculator.estimate_memory(ask(LLAMA, CHOICE)).warnings
    )


def test_soft_capped_scores_are_kept_twice_for_every_head():
    request = ask(preset_source("gemma-2-9b"), lora(8), dtype="float32", seq_length=1000)
    kept = items(calculator.estimate_memory(request))["activations"]
    longer = with_changes(request, {"workload.seq_length": 2000})
    grown = items(calculator.estimate_memory(longer))["activations"] - 2 * kept
    assert grown == pytest.approx(42 * 16 * 8 * (2000**2 - 2 * 1000**2) / GIB)


def test_logits_rule_at_large_vocabularies():
    request = ask(preset_source("gemma-3-1b"), lora(8), batch_size=8, gradient_checkpointing=True)
    plain = items(calculator.estimate_memory(with_changes(request, {"workload.trainer": "plain"})))
    assert plain["logits and loss"] > 0.8 * (sum(plain.values()) - plain["logits and loss"])
    chunked = items(calculator.estimate_memory(request))
    assert chunked["logits and loss"] < plain["logits and loss"] / 100


def test_kv_cache_by_hand():
    request = ask(preset_source("llama-3-8b"), lora(8), purpose="chat", seq_length=8192)
    found = items(calculator.estimate_memory(request))
    assert found["KV cache"] == 2 * 32 * 8 * 128 * 8192 * 2 / GIB == 1.0
    assert "gradients" not in found


def test_optimizers_by_hand():
    matrix = (((1024, 512), 3),)
    size = 3 * 1024 * 512
    assert state_of("adamw", matrix, 8) == OptimizerState(8 * size)
    assert state_of("adamw_8bit", matrix, 8).held == 2 * size + 2 * 4 * size // 256
    assert state_of("adamw_8bit", (((16, 16), 1),), 8).held == 8 * 256
    assert state_of("adafactor", matrix, 8).held == 3 * 4 * (1024 + 512)
    assert state_of("adafactor", matrix, 8).step == 2 * 4 * 1024 * 512
    assert state_of("galore", matrix, 8).held == 3 * 4 * (2 * 8 * 1024 + 8 * 512)
    assert state_of("sgd", matrix, 8) == OptimizerState()
    assert state_of("paged_adamw", (((16, 4096), 2), ((4096, 32), 3)), 8) == OptimizerState(
        8 * 4096 * (2 * 16 + 3 * 32), pageable=8 * 4096 * 3 * 32
    )


@pytest.mark.parametrize(("preset", "gib"), [("llama-3-8b", 0.0117), ("llama-2-7b", 0.0106)])
def test_adafactor_keeps_rows_and_columns_of_the_embedding_and_the_head_too(preset, gib):
    request = ask(preset_source(preset), lora(8), kind="full", optimizer="adafactor")
    found = items(calculator.estimate_memory(request))
    assert found["optimizer state"] == pytest.approx(gib, rel=0.01)


def test_a_step_of_fused_adamw_copies_no_weights(profile):
    assert "optimizer step" not in items(estimate(profile, kind="full"))
    assert "optimizer step" not in items(estimate(profile, kind="full", optimizer="adamw_8bit"))
    largest = items(estimate(profile, kind="full", optimizer="adafactor", seq_length=1))
    assert largest["optimizer step"] == 2 * 4 * 32_000 * 4096 / GIB


def test_8bit_state_is_what_bitsandbytes_holds():
    import bitsandbytes
    import torch

    shapes = (((64, 256), 2), ((10,), 1))
    parameters = [torch.nn.Parameter(torch.zeros(s)) for s, many in shapes for _ in range(many)]
    optimizer = bitsandbytes.optim.AdamW8bit(parameters)
    held = 0
    for group_index, group in enumerate(optimizer.param_groups):
        for index, parameter in enumerate(group["params"]):
            parameter.grad = torch.zeros_like(parameter)
            optimizer.init_state(group, parameter, group_index, index)
            state = optimizer.state[parameter]
            names = ("state1", "state2", "absmax1", "absmax2")
            held += sum(state[n].numel() * state[n].element_size() for n in names if n in state)
    assert held == state_of("adamw_8bit", shapes, 8).held


def test_paged_state_sits_on_the_host(profile):
    estimated = estimate(profile, optimizer="paged_adamw")
    # bitsandbytes pages tensors from 100,000 weights on: here those 11,008 wide
    wide = 32 * 3 * 16 * 11_008
    assert items(estimated)["optimizer state"] == pytest.approx((ADAPTER - wide) * 8 / GIB)
    assert estimated.host_gib == pytest.approx(wide * 8 / GIB)


def test_falcon_is_not_quantised_and_it_is_said():
    request = ask(preset_source("falcon-7b"), lora(8), quantization=NF4)
    estimated = calculator.estimate_memory(request)
    assert any("quantizes only 0%" in warning for warning in estimated.warnings)


def test_verdicts_and_largest_fit_agree(profile):
    estimated = estimate(profile, gradient_checkpointing=True)
    fitting = {v.card: v.fits for v in verdicts(estimated)}
    assert fitting["RTX 4090 24 GB"]
    assert not fitting["RTX 3060 12 GB"]
    request = estimated.request
    largest = calculator.largest_that_fits(request, 24)
    for fits, batch in ((True, largest.batch_size), (False, largest.batch_size + 1)):
        total = estimate(profile, gradient_checkpointing=True, batch_size=batch).total_gib
        assert (total <= 24) == fits
    for fits, length in ((True, largest.seq_length), (False, largest.seq_length + 1)):
        total = estimate(profile, gradient_checkpointing=True, seq_length=length).total_gib
        assert (total <= 24) == fits


def test_largest_fit_is_zero_where_nothing_fits():
    largest = calculator.largest_that_fits(ask(LLAMA, CHOICE), 4)
    assert (largest.batch_size, largest.seq_length) == (0, 0)


def test_make_it_fit_takes_the_least_harmful_change():
    request = ask(LLAMA, CHOICE)
    already = calculator.make_it_fit(request, 80)
    assert (already.fits, already.changes) == (True, ())
    one = calculator.make_it_fit(request, 16)
    assert [c.what for c in one.changes] == ["gradient checkpointing"]
    two = calculator.make_it_fit(request, 12)
    assert [c.what for c in two.changes] == ["gradient checkpointing", "QLoRA (NF4 base)"]
    assert two.changes[-1].total_gib <= 12
    assert two.request.quantization == QuantizationSpec()
    never = calculator.make_it_fit(request, 1)
    assert not never.fits


def test_every_change_of_make_it_fit_is_needed():
    request = ask(preset_source("llama-3-8b"), CHOICE, batch_size=8, kind="full")
    found = calculator.make_it_fit(request, 24)
    assert found.fits
    profile = read_profile(request.source, CHOICE)
    kind, quantization = {"method.finetuning_type": "full"}, {"quantization": None}
    for change in ({"optimization.gradient_checkpointing": False}, kind | quantization):
        undone = with_changes(found.request, change)
        assert estimate_from(profile, undone).total_gib > 24


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"batch_size": 0}, "workload.batch_size"),
        ({"batch_size": 10**9}, "workload.batch_size"),
        ({"seq_length": -1}, "workload.seq_length"),
        ({"seq_length": 2.5}, "workload.seq_length"),
        ({"kind": "lora++"}, "method.finetuning_type"),
        ({"optimizer": "adam"}, "optimization.optimizer"),
        ({"dtype": "int3"}, "workload.dtype"),
        ({"device": "tpu"}, "workload.device"),
        ({"supervised_fraction": 0.0}, "workload.supervised_fraction"),
        ({"gradient_accumulation": 0}, "optimization.gradient_accumulation"),
        ({"quantization": {"bits": 3}}, "quantization.bits"),
        ({"quantization": NF4, "kind": "full"}, "quantization"),
    ],
)
def test_a_bad_request_names_its_field(fields, path):
    with pytest.raises(InvalidInput) as caught:
        ask(LLAMA, CHOICE, **fields)
    assert [p.path for p in caught.value.problems] == [path]


@pytest.mark.parametrize(
    ("options", "paths"),
    [
        ({"method": "lora++", "dtype": "int3"}, ["method", "dtype"]),
        ({"optimizer": "adam", "batch_size": 0}, ["optimizer", "workload.batch_size"]),
        ({"rank": 5000, "bits": 3}, ["method.rank", "quantization.bits"]),
    ],
)
def test_a_bad_short_name_is_named_with_all_else_that_is_wrong(options, paths):
    with pytest.raises(InvalidInput) as caught:
        MemoryOptions(**options).request(LLAMA)
    assert [p.path for p in caught.value.problems] == paths


def test_short_names_are_the_specs_words():
    request = MemoryOptions("qlora", 4, "q,v", optimizer="sgd", dtype="fp16").request(LLAMA)
    assert request.method == lora(4, ["q", "v"])
    assert request.method.alpha == 8
    assert request.quantization == QuantizationSpec()
    assert (request.optimizer, request.workload.dtype) == ("sgd", "float16")
    galore = MemoryOptions("galore", rank=4).request(LLAMA)
    assert (galore.method.finetuning_type, galore.optimizer) == ("galore", "galore")
    named = estimate_json(calculator.estimate_memory(request))
    assert (named["method"], named["quantization"]["bits"]) == ("qlora", 4)


@pytest.mark.parametrize("size", [0, -8, float("nan"), float("inf"), "24"])
def test_a_bad_card_names_its_field(size):
    with pytest.raises(InvalidInput, match="memory_gib"):
        calculator.make_it_fit(ask(LLAMA, CHOICE), size)


def test_methods_side_by_side():
    rows = {r.method: r for r in calculator.compare_methods(LLAMA, lora(8, "q,v"))}
    assert rows["full"].trainable_parameters == BASE
    assert rows["LoRA"].trainable_parameters == rows["QLoRA"].trainable_parameters == 4_194_304
    assert rows["DoRA"].trainable_parameters == 4_194_304 + 32 * 2 * 4096
    assert rows["IA3"].trainable_parameters == 32 * (4096 + 4096 + 11008)
    assert rows["prompt tuning"].trainable_parameters == 20 * 4096
    assert rows["prefix tuning"].trainable_parameters == 20 * 32 * 2 * 4096
    assert rows["bottleneck adapters"].trainable_parameters == 64 * (2 * 64 * 4096 + 4096 + 64)
    heads = 3 * 4096 * 4096 + 3 * 4096  # P-tuning's network, as wide as the model
    assert rows["P-tuning"].trainable_parameters == 20 * 4096 + heads
    assert rows["LoHa"].trainable_parameters == 2 * 4_194_304
    assert rows["VeRA"].trainable_parameters == 32 * 2 * (4096 + 256)
    assert rows["bottleneck adapters"].adds_latency
    assert not rows["LoRA"].adds_latency
    assert rows["full"].optimizer_state_gib == BASE * 8 / GIB


def test_a_method_that_does_not_apply_says_why():
    rows = calculator.compare_methods(preset_source("vit-base"), lora(8, "q,v"))
    prefix = next(r for r in rows if r.method == "prefix tuning")
    assert prefix.trainable_parameters is None
    assert prefix.note


def test_work_of_a_run(profile):
    request = ask(LLAMA, CHOICE, batch_size=4, gradient_accumulation=2, seq_length=512)
    work = calculator.estimate_work(profile, request, rows=1001, epochs=3)
    assert work.steps == 126 * 3
    assert work.tokens == 1001 * 3 * 512
    multiplied = BASE - 32000 * 4096 + ADAPTER
    attention = 4 * 512 * 4096 * 32
    expected = 4 * multiplied + 2 * ADAPTER + 3 * attention
    assert work.flops_per_token == pytest.approx(expected)
    assert work.seconds(work.flops) == 1


def test_full_training_costs_six_operations_a_parameter(profile):
    request = ask(LLAMA, CHOICE, kind="full", seq_length=1)
    work = calculator.estimate_work(profile, request, rows=1)
    assert work.flops_per_token == pytest.approx(6 * BASE, rel=0.03)
    with pytest.raises(InvalidInput, match="rows"):
        calculator.estimate_work(profile, request, rows=0)


def test_snippet_makes_the_same_adapter():
    import peft

    choice = lora(8, "q,v", rank_pattern={"q_proj": 4}, use_dora=True, modules_to_save="norm")
    counted = calculator.count_model(LLAMA, choice)
    space = {}
    exec(calculator.lora_config_snippet(counted), {}, space)
    config = space["config"]
    assert isinstance(config, peft.LoraConfig)
    assert (config.r, config.lora_alpha, config.use_dora) == (8, 16, True)
    assert config.target_modules == {"q_proj", "v_proj"}
    assert config.alpha_pattern == {"q_proj": 8}
    assert config.modules_to_save == ["norm"]


def test_an_alpha_pattern_is_kept_in_the_snippet_and_in_the_spec():
    import peft

    method = lora(
        8, "q,v", alpha=12.5, rank_pattern={"q_proj": 4}, alpha_pattern={"v_proj": 3.0}, bias="all"
    )
    counted = calculator.count_model(LLAMA, method)
    space = {}
    exec(calculator.lora_config_snippet(counted), {}, space)
    config: peft.LoraConfig = space["config"]
    assert config.alpha_pattern == {"q_proj": 6.25, "v_proj": 3.0}
    assert (config.lora_alpha, config.bias) == (12.5, "all")
    run = calculator.run_spec("starter", counted, ask(LLAMA, method))
    assert run.method == method.model_copy(update={"target_modules": ["q_proj", "v_proj"]})


def test_csv_has_a_row_a_module_and_no_formula():
    import csv
    import io

    counted = calculator.count_model(LLAMA, CHOICE)
    rows = list(csv.DictReader(io.StringIO(calculator.modules_csv(counted))))
    assert len(rows) == 224
    assert sum(int(row["parameters"]) for row in rows) == ADAPTER
    assert not any(row["name"].startswith(("=", "+", "-", "@")) for row in rows)


def test_what_was_counted_for_one_reader_is_said_in_the_language_of_the_next():
    request = MemoryRequest(preset_source("gpt2"), read_method(rank=8, target_modules="q,k,v"))
    english = estimate_memory(request)
    with speaking("zh"):
        chinese = estimate_memory(request)

    assert [item.gib for item in chinese.items] == [item.gib for item in english.items]
    assert english.warnings
    for said in (lambda found: found.warnings, lambda found: [one.formula for one in found.items]):
        assert not set(said(chinese)) & set(said(english))
