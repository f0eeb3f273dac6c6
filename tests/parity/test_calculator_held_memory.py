"""Predicted memory against what torch really holds, tensor by tensor, in training steps on the CPU.

`Held` counts every storage that torch operations make, from birth to death, so the peak is exact
and owes nothing to an allocator. The saved tensors of one layer are read with autograd's own hooks.
"""

import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lora_engine import calculator
from lora_engine.calculator import LoraChoice, MemoryQuestion, config_source
from lora_engine.calculator.activations import ActivationRule, layer_bytes
from lora_engine.calculator.model_profile import read_profile

GIB = 1 << 30
MARGINS = ("fragmentation", "CPU overhead")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

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


class Held(TorchDispatchMode):
    """Bytes of all live storages that operations under this mode made, and their peak."""

    def __init__(self):
        super().__init__()
        self.live, self.peak, self.known = 0, 0, set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.born(tensor.untyped_storage())
        return result

    def born(self, storage):
        key = storage._cdata
        if key in self.known or storage.nbytes() == 0:
            return
        size = storage.nbytes()
        self.known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self.died, key, size)

    def died(self, key, size):
        self.known.discard(key)
        self.live -= size


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
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
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
    profile = read_profile(source, LoraChoice(4, targets or "all-linear"))
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
            * saved_bytes_a_token(mixtral | {"num_hidden_layers": n}, "fp32", 1, 16, list(targets))
            for n in (2, 3)
        )
        kept[targets[0]] = three - two
    question = MemoryQuestion(
        config_source(mixtral), LoraChoice(4, ("w1", "w2", "w3")), dtype="fp32", seq_length=16
    )
    items = {item.name: item.gib for item in calculator.estimate_memory(question).items}
    assert items["merged experts"] * GIB / 3 == 4 * 4 * 3 * 256 * 688
    assert kept["w1"] - kept["o_proj"] == pytest.approx(items["merged experts"] * GIB / 3, rel=0.1)


def peak_of_training(config, dtype, question):
    """Peak bytes over two steps as our worker takes them, model and optimizer state included."""
    from torch.nn.functional import cross_entropy

    targets = list(read_profile(question.source, question.choice).count.resolved_targets)
    with Held() as held:
        rank = question.choice.rank
        model = make_model(config, dtype, targets if question.has_adapter else None, rank)
        if question.gradient_checkpointing:
            model.gradient_checkpointing_enable()
            model.enable_input_require_grads()
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained)
        shape = (question.batch_size, question.seq_length)
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
        (LLAMA, {"seq_length": 96, "dtype": "bf16"}),
        (LLAMA, {"seq_length": 160, "method": "full"}),
        (LLAMA, {"seq_length": 32, "method": "full"}),
        (GPT2, {"seq_length": 96, "batch_size": 2}),
        (QWEN3, {"seq_length": 96, "choice": LoraChoice(64, "attention,mlp")}),
    ],
)
def test_the_peak_of_training_is_predicted_within_15_percent(config, fields):
    defaults = {"dtype": "fp32", "device": "cpu", "choice": LoraChoice(8, "attention,mlp")}
    defaults["trainer"] = "plain"
    question = MemoryQuestion(config_source(config), **(defaults | fields))
    estimate = calculator.estimate_memory(question)
    margin = sum(item.gib for item in estimate.items if item.name in MARGINS)
    predicted = (estimate.total_gib - margin) * GIB
    measured = peak_of_training(config, question.dtype, question)
    print(f"{predicted / measured - 1:+.1%} {fields}")
    assert predicted == pytest.approx(measured, rel=0.15)


def rows_of(config, batch_size, seq_length):
    from lora_engine.data import TokenizedRow

    generator = torch.Generator().manual_seed(0)
    made = torch.randint(0, config["vocab_size"], (batch_size, seq_length), generator=generator)
    return [TokenizedRow(i, tuple(row), tuple(row), False) for i, row in enumerate(made.tolist())]


def peak_of_a_run(config, question):
    """Peak bytes over two steps on the forward path that our worker chooses."""
    from lora_engine.training.forward.packed import PackedPath
    from lora_engine.training.forward.select import choose_path

    targets = list(read_profile(question.source, question.choice).count.resolved_targets)
    rows = rows_of(config, question.batch_size, question.seq_length)
    with Held() as held:
        choice = question.choice
        model = make_model(
            config, question.dtype, targets, choice.rank, lora_dropout=choice.dropout
        )
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
        (LLAMA, {"seq_length": 96, "batch_size": 4, "choice": LoraChoice(8, "q,v")}),
        (LLAMA, {"seq_length": 96, "batch_size": 4, "dtype": "bf16"}),
        (LLAMA | {"vocab_size": 20_000}, {"seq_length": 96, "batch_size": 4}),
        (QWEN3, {"seq_length": 96, "batch_size": 4, "choice": LoraChoice(64, "attention,mlp")}),
        (LLAMA, {"seq_length": 300, "choice": LoraChoice(8, "attention,mlp", dropout=0.1)}),
    ],
)
def test_the_peak_of_our_own_path_is_predicted_within_15_percent(config, fields):
    defaults = {"dtype": "fp32", "device": "cpu", "choice": LoraChoice(8, "attention,mlp")}
    question = MemoryQuestion(config_source(config), **(defaults | fields))
    estimate = calculator.estimate_memory(question)
    margin = sum(item.gib for item in estimate.items if item.name in MARGINS)
    predicted = (estimate.total_gib - margin) * GIB
    measured = peak_of_a_run(config, question)
    print(f"{predicted / measured - 1:+.1%} {fields}")
    assert predicted == pytest.approx(measured, rel=0.15)


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


def test_quantizable_weights_are_what_transformers_quantises():
    import bitsandbytes
    from transformers import BitsAndBytesConfig
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear
    from transformers.quantizers.base import get_keys_to_not_convert

    for config in (LLAMA, GPT2, QWEN3):
        model = make_model(config, "fp32")
        before = {
            name: m.weight.numel() for name, m in model.named_modules() if hasattr(m, "weight")
        }
        settings = BitsAndBytesConfig(load_in_4bit=True)
        replace_with_bnb_linear(model, get_keys_to_not_convert(model), settings)
        packed = [
            name for name, m in model.named_modules() if isinstance(m, bitsandbytes.nn.Linear4bit)
        ]
        shape = read_profile(config_source(config), LoraChoice(2, "attention")).shape
        assert shape.quantizable_parameters == sum(before[name] for name in packed)
