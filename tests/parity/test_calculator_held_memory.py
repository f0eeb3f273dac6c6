"""Predicted memory against what torch really holds, tensor by tensor, in training steps on the CPU.

`Held` counts every storage that torch operations make, from birth to death, so the peak is exact
and owes nothing to an allocator. The saved tensors of one layer are read with autograd's own hooks.
"""

import pytest
import torch

from lora_engine import calculator
from lora_engine.calculator import config_source
from lora_engine.calculator.activations import ActivationRule, layer_bytes
from lora_engine.calculator.model_profile import read_profile
from lora_engine.calculator.model_shape import HELD_TO_AUTOGRAD
from lora_engine.spec import QuantizationSpec
from tests.calculator_requests import INT8, ask, lora
from tests.held_memory import Held

pytestmark = pytest.mark.slow

GIB = 1 << 30
MARGINS = ("fragmentation", "CPU overhead")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 688,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "tie_word_embeddings": False,
}
GPT2 = {
    "architectures": ["GPT2LMHeadModel"],
    "model_type": "gpt2",
    "n_embd": 256,
    "n_layer": 3,
    "n_head": 8,
    "n_positions": 256,
    "vocab_size": 1000,
    "attn_pdrop": 0.0,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
}
QWEN3 = LLAMA | {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "head_dim": 32,
}
GEMMA2 = LLAMA | {
    "architectures": ["Gemma2ForCausalLM"],
    "model_type": "gemma2",
    "head_dim": 32,
}


def make_model(config, dtype, targets=None, rank=4, attention="sdpa", **options):
    from peft import LoraConfig, get_peft_model
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    torch.manual_seed(0)
    made = CONFIG_MAPPING[config["model_type"]].from_dict(dict(config))
    model = AutoModelForCausalLM.from_config(made, attn_implementation=attention)
    model = model.to(DTYPES[dtype])
    if targets:
        model = get_peft_model(model, LoraConfig(r=rank, target_modules=targets, **options))
    return model.train()


def saved_bytes_a_token(config, dtype, batch_size, seq_length, targets=None, **options):
    """Distinct storages autograd keeps for the backward pass, parameters left out."""
    model = make_model(config, dtype, targets, **options)
    own = {t.untyped_storage()._cdata for t in [*model.parameters(), *model.buffers()]}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    ids = torch.randint(0, config["vocab_size"], (batch_size, seq_length))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = model(input_ids=ids, use_cache=False).logits
    total = sum(storage.nbytes() for storage in kept.values())
    del logits
    return total / (batch_size * seq_length)


@pytest.mark.parametrize("config", [LLAMA, GPT2, QWEN3], ids=["llama", "gpt2", "qwen3"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("targets", "options", "rule"),
    [
        ("attention", {}, {}),
        ("all-linear", {}, {}),
        ("all-linear", {"lora_dropout": 0.1}, {"dropout": True, "mask_bytes": 4}),
        (None, {}, {"trains_weights": True}),
    ],
)
def test_a_layer_keeps_what_autograd_keeps(config, dtype, targets, options, rule):
    source = config_source(config)
    profile = read_profile(source, lora(4, targets or "all-linear"))
    resolved = profile.count.resolved_targets
    options = options | {"targets": list(resolved) if targets == "attention" else targets}
    layers = "n_layer" if "n_layer" in config else "num_hidden_layers"
    two, three = (
        saved_bytes_a_token(config | {layers: n}, dtype, 1, 64, **options) for n in (2, 3)
    )
    layer = profile.shape.layers[1]
    adapted = profile.adapted[layer.path] if targets else ()
    rule = ActivationRule(DTYPES[dtype].itemsize, **rule)
    predicted = layer_bytes(layer, profile.shape, adapted, 64, rule)
    assert predicted == pytest.approx(three - two, rel=0.02)


SIZES = {name: LLAMA[name] for name in LLAMA if name not in ("architectures", "model_type")}
KINDRED = {
    "mistral": SIZES,
    "qwen2": SIZES,
    "gemma": SIZES | {"head_dim": 32},
    "gemma3_text": SIZES | {"head_dim": 32},
    "olmo2": SIZES,
    "granite": SIZES,
    "smollm3": SIZES | {"pad_token_id": 0},
    "stablelm": SIZES | {"num_key_value_heads": 8},
    "starcoder2": SIZES | {"residual_dropout": 0, "embedding_dropout": 0},
    "cohere": SIZES | {"pad_token_id": 0},
    "glm": SIZES | {"head_dim": 32, "pad_token_id": 0},
    "helium": SIZES | {"head_dim": 32, "pad_token_id": 0},
    "phi": SIZES | {"num_key_value_heads": 8, "resid_pdrop": 0, "embd_pdrop": 0},
    "gpt_bigcode": {
        name: GPT2[name] for name in GPT2 if name not in ("architectures", "model_type")
    },
}


@pytest.mark.parametrize("targets", ["all-linear", "attention", None])
@pytest.mark.parametrize("model_type", KINDRED)
def test_kindred_models_keep_what_the_rule_says_within_a_tenth(model_type, targets):
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CLASSES

    config = {
        "model_type": model_type,
        "architectures": [CLASSES[model_type]],
        **KINDRED[model_type],
    }
    profile = read_profile(config_source(config), lora(4, targets or "all-linear"))
    assert profile.shape.held_to_autograd
    layers = "n_layer" if "n_layer" in config else "num_hidden_layers"
    named = list(profile.count.resolved_targets) if targets == "attention" else targets
    two, three = (
        saved_bytes_a_token(config | {layers: n}, "float32", 1, 64, named) for n in (2, 3)
    )
    layer = profile.shape.layers[1]
    adapted = profile.adapted[layer.path] if targets else ()
    rule = ActivationRule(4, trains_weights=targets is None)
    predicted = layer_bytes(layer, profile.shape, adapted, 64, rule)
    assert predicted == pytest.approx(three - two, rel=0.1)


def test_every_model_type_said_to_be_held_to_autograd_is():
    assert set(KINDRED) | {"llama", "gpt2", "qwen3", "gemma2"} == HELD_TO_AUTOGRAD


def test_a_model_that_was_not_compared_with_autograd_says_so():
    falcon = {
        "architectures": ["FalconForCausalLM"],
        "model_type": "falcon",
        "hidden_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 8,
        "vocab_size": 1000,
    }
    for config, is_told in ((falcon, True), (LLAMA, False)):
        request = ask(config_source(config), lora(4, "all-linear"))
        warnings = calculator.estimate_memory(request).warnings
        assert any("not compared with autograd" in text for text in warnings) is is_told


def test_adapted_experts_are_kept_merged_in_every_layer():
    mixtral = LLAMA | {
        "architectures": ["MixtralForCausalLM"],
        "model_type": "mixtral",
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
    }
    kept = {}
    for targets in (("w1", "w2", "w3"), ("o_proj",)):
        two, three = (
            16
            * saved_bytes_a_token(
                mixtral | {"num_hidden_layers": n}, "float32", 1, 16, list(targets)
            )
            for n in (2, 3)
        )
        kept[targets[0]] = three - two
    request = ask(
        config_source(mixtral), lora(4, ("w1", "w2", "w3")), dtype="float32", seq_length=16
    )
    items = {item.name: item.gib for item in calculator.estimate_memory(request).items}
    assert items["merged experts"] * GIB / 3 == 4 * 4 * 3 * 256 * 688
    assert kept["w1"] - kept["o_proj"] == pytest.approx(items["merged experts"] * GIB / 3, rel=0.1)


def peak_of_training(config, dtype, request):
    """Peak bytes over two steps as our worker takes them, model and optimizer state included."""
    from torch.nn.functional import cross_entropy

    targets = list(read_profile(request.source, request.method).count.resolved_targets)
    with Held() as held:
        rank = request.method.rank
        model = make_model(config, dtype, targets if request.has_adapter else None, rank)
        if request.optimization.gradient_checkpointing:
            model.gradient_checkpointing_enable()
            model.enable_input_require_grads()
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained)
        shape = (request.workload.batch_size, request.workload.seq_length)
        ids = torch.randint(0, config["vocab_size"], shape)
        held.peak = held.live
        for _ in range(2):
            loss = loss_of(model, ids, cross_entropy)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    return held.peak


def loss_of(model, ids, cross_entropy):
    logits = model(input_ids=ids, use_cache=False).logits
    predicted = torch.ones_like(ids[:, 1:], dtype=torch.bool)
    kept = logits[:, :-1][predicted].float()
    return cross_entropy(kept, ids[:, 1:][predicted])


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        (LLAMA, {"seq_length": 96}),
        (LLAMA, {"seq_length": 96, "batch_size": 4}),
        (LLAMA, {"seq_length": 160, "gradient_checkpointing": True}),
        (LLAMA | {"vocab_size": 20_000}, {"seq_length": 96, "batch_size": 2}),
        (LLAMA, {"seq_length": 96, "dtype": "bfloat16"}),
        (LLAMA, {"seq_length": 160, "kind": "full"}),
        (LLAMA, {"seq_length": 32, "kind": "full"}),
        (GPT2, {"seq_length": 96, "batch_size": 2}),
        (QWEN3, {"seq_length": 96, "method": lora(64, "attention,mlp")}),
    ],
)
def test_the_peak_of_training_is_predicted_within_15_percent(config, fields):
    defaults = {"dtype": "float32", "device": "cpu", "method": lora(8, "attention,mlp")}
    defaults["trainer"] = "plain"
    request = ask(config_source(config), **(defaults | fields))
    estimate = calculator.estimate_memory(request)
    margin = sum(item.gib for item in estimate.items if item.name in MARGINS)
    predicted = (estimate.total_gib - margin) * GIB
    measured = peak_of_training(config, request.workload.dtype, request)
    print(f"{predicted / measured - 1:+.1%} {fields}")
    assert predicted == pytest.approx(measured, rel=0.15)


def rows_of(config, batch_size, seq_length):
    from lora_engine.data import TokenizedRow

    generator = torch.Generator().manual_seed(0)
    made = torch.randint(0, config["vocab_size"], (batch_size, seq_length), generator=generator)
    return [TokenizedRow(i, tuple(row), tuple(row), False) for i, row in enumerate(made.tolist())]


def peak_of_a_run(config, request):
    """Peak bytes over two steps on the forward path that our worker chooses."""
    from lora_engine.training.forward.packed import PackedPath
    from lora_engine.training.forward.select import choose_path

    targets = list(read_profile(request.source, request.method).count.resolved_targets)
    rows = rows_of(config, request.workload.batch_size, request.workload.seq_length)
    with Held() as held:
        choice = request.method
        # Gemma 2 has no sdpa of its own; the packed path brings its attention.
        attention = "eager" if config["model_type"] == "gemma2" else "sdpa"
        dtype, dropout = request.workload.dtype, choice.dropout
        model = make_model(config, dtype, targets, choice.rank, attention, lora_dropout=dropout)
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
        path = choose_path(model, rows, 0, "cpu")
        assert isinstance(path, PackedPath)
        batch = path.collate(rows)
        held.peak = held.live
        for _ in range(2):
            (path.summed_loss(batch) / batch.supervised).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    return held.peak


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        (LLAMA, {"seq_length": 96, "batch_size": 4}),
        (LLAMA, {"seq_length": 300, "batch_size": 2}),
        (LLAMA, {"seq_length": 96, "batch_size": 4, "method": lora(8, "q,v")}),
        (LLAMA, {"seq_length": 96, "batch_size": 4, "dtype": "bfloat16"}),
        (LLAMA | {"vocab_size": 20_000}, {"seq_length": 96, "batch_size": 4}),
        (QWEN3, {"seq_length": 96, "batch_size": 4, "method": lora(64, "attention,mlp")}),
        (LLAMA, {"seq_length": 300, "method": lora(8, "attention,mlp", dropout=0.1)}),
        (GEMMA2, {"seq_length": 256}),
        (GEMMA2, {"seq_length": 256, "dtype": "bfloat16"}),
    ],
)
def test_the_peak_of_our_own_path_is_predicted_within_15_percent(config, fields):
    defaults = {"dtype": "float32", "device": "cpu", "method": lora(8, "attention,mlp")}
    request = ask(config_source(config), **(defaults | fields))
    estimate = calculator.estimate_memory(request)
    margin = sum(item.gib for item in estimate.items if item.name in MARGINS)
    predicted = (estimate.total_gib - margin) * GIB
    measured = peak_of_a_run(config, request)
    print(f"{predicted / measured - 1:+.1%} {fields}")
    assert predicted == pytest.approx(measured, rel=0.15)


@pytest.fixture
def in_8_bits(tmp_path):
    """A Llama of LLAMA's sizes, loaded in 8 bits on the CPU as a run loads it."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from lora_engine.base_models import BaseModel, load_base_model

    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig.from_dict(dict(LLAMA))).save_pretrained(tmp_path)
    base = BaseModel("small", tmp_path)
    return load_base_model(base, "cpu", torch.float32, QuantizationSpec(bits=8))


def test_int8_weights_and_scales_are_what_the_loaded_model_holds(in_8_bits):
    weights = [p for p in in_8_bits.parameters() if p.dtype == torch.int8]
    scales = [p.SCB for p in weights]
    found = ask(config_source(LLAMA), lora(4), quantization=INT8, device="cpu", dtype="float32")
    items = {item.name: item.gib * GIB for item in calculator.estimate_memory(found).items}
    assert items["weights in int8"] == sum(p.numel() for p in weights)
    assert items["int8 scales"] == sum(s.numel() * s.element_size() for s in scales)
    rest = sum(4 * p.numel() for p in in_8_bits.parameters() if p.dtype != torch.int8)
    assert items["weights not quantized"] == rest


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_the_peak_of_an_8_bit_run_is_predicted_within_15_percent(in_8_bits, dropout):
    from lora_engine.training.forward.select import choose_path
    from lora_engine.training.models.adapter_model import add_adapter

    method = lora(8, dropout=dropout)
    source, tokens = config_source(LLAMA), {"batch_size": 4, "seq_length": 96}
    request = ask(source, method, quantization=INT8, device="cpu", dtype="float32", **tokens)
    rows = rows_of(LLAMA, 4, 96)
    model = add_adapter(in_8_bits, method, quantized=True).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    path = choose_path(model, rows, 0, "cpu")
    with Held() as held:
        for tensor in (*model.parameters(), *model.buffers()):
            held.born(tensor.untyped_storage())
        for parameter in model.parameters():
            if parameter.dtype == torch.int8:
                held.born(scales_of(model, parameter).untyped_storage())
        batch = path.collate(rows)
        held.peak = held.live
        for _ in range(2):
            (path.summed_loss(batch) / batch.supervised).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    estimate = calculator.estimate_memory(request)
    predicted = (estimate.total_gib - estimate.gib_of("margin")) * GIB
    print(f"{predicted / held.peak - 1:+.1%} 8 bits")
    assert predicted == pytest.approx(held.peak, rel=0.15)


def scales_of(model, parameter):
    """The scales of an 8-bit weight, which a first forward moves from the weight to the layer."""
    if parameter.SCB is not None:
        return parameter.SCB
    layers = (m for m in model.modules() if hasattr(m, "state"))
    return next(layer.state.SCB for layer in layers if layer.weight is parameter)


@pytest.mark.parametrize("double", [False, True])
def test_nf4_constants_are_what_bitsandbytes_holds(double):
    import bitsandbytes

    layer = bitsandbytes.nn.Linear4bit(
        512, 1024, bias=False, quant_type="nf4", compress_statistics=double
    ).to("cpu")
    state = layer.weight.quant_state
    constants = state.absmax.numel() * state.absmax.element_size()
    if double:
        constants += state.state2.absmax.numel() * state.state2.absmax.element_size()
    blocks = 512 * 1024 / 64
    assert layer.weight.numel() * layer.weight.element_size() == 512 * 1024 / 2
    assert constants == (blocks + 4 * blocks / 256 if double else 4 * blocks)


def test_quantizable_weights_are_what_transformers_quantizes():
    import bitsandbytes
    from transformers import BitsAndBytesConfig
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear
    from transformers.quantizers.base import get_keys_to_not_convert

    for config in (LLAMA, GPT2, QWEN3):
        model = make_model(config, "float32")
        before = {
            name: m.weight.numel() for name, m in model.named_modules() if hasattr(m, "weight")
        }
        settings = BitsAndBytesConfig(load_in_4bit=True)
        replace_with_bnb_linear(model, get_keys_to_not_convert(model), settings)
        packed = [
            name for name, m in model.named_modules() if isinstance(m, bitsandbytes.nn.Linear4bit)
        ]
        shape = read_profile(config_source(config), lora(2, "attention")).shape
        assert shape.quantizable_parameters == sum(before[name] for name in packed)
