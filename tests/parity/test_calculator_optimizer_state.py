"""Predicted optimizer state, against what the optimizer of a run holds after a step."""

import pytest
import torch

from lora_engine.calculator import config_source
from lora_engine.calculator.model_profile import optimizer_state, read_profile
from tests.calculator_requests import ask, lora
from tests.parity.test_calculator_held_memory import LLAMA, Held

SMALL = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 512}
MODELS = {
    "llama": LLAMA | SMALL,
    "tied": LLAMA | SMALL | {"tie_word_embeddings": True},
    "mixtral": LLAMA
    | SMALL
    | {
        "architectures": ["MixtralForCausalLM"],
        "model_type": "mixtral",
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
    },
    "mamba": {
        "architectures": ["MambaForCausalLM"],
        "model_type": "mamba",
        "hidden_size": 64,
        "state_size": 8,
        "num_hidden_layers": 2,
        "vocab_size": 512,
    },
}


def held_after_a_step(config, request):
    """Bytes of the state of the run's own optimizer, and of the peak within a later step."""
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    from lora_engine.training.models.adapter_model import add_adapter
    from lora_engine.training.models.whole_model import make_trainable
    from lora_engine.training.optimizers.factory import make_optimizer

    made = CONFIG_MAPPING[config["model_type"]].from_dict(dict(config))
    model = AutoModelForCausalLM.from_config(made)
    if request.has_adapter:
        model = add_adapter(model, request.method, quantized=False)
    else:
        model = make_trainable(model, request.method)
    optimizer = make_optimizer(model, request.method, request.optimization)
    with Held() as held:
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.randn_like(parameter)
        optimizer.step()
        before = held.peak = held.live
        optimizer.step()
    moments = [
        value
        for state in optimizer.state.values()
        for key, value in state.items()
        if isinstance(value, torch.Tensor) and value.numel() > 1 and not key.startswith("qmap")
    ]
    return sum(v.numel() * v.element_size() for v in moments), held.peak - before


@pytest.mark.parametrize(
    ("model", "method", "optimizer"),
    [
        *((name, "full", "adafactor") for name in MODELS),
        ("llama", "lora", "adafactor"),
        ("llama", "dora", "adafactor"),
        ("llama", "full", "adamw"),
        ("llama", "freeze", "adamw"),
        ("mamba", "freeze", "adamw"),
        ("mixtral", "full", "adamw_8bit"),
        *((name, "galore", "adamw") for name in MODELS),
    ],
)
def test_the_state_after_a_step_is_what_is_predicted(model, method, optimizer):
    config = MODELS[model]
    extra = {"lora": {"modules_to_save": ["lm_head"]}, "dora": {"use_dora": True}}
    kind = "lora" if method in extra else method
    choice = lora(4, "all-linear", freeze_layers=1, **extra.get(method, {}))
    request = ask(config_source(config), choice, kind=kind, optimizer=optimizer)
    predicted = optimizer_state(read_profile(request.source, request.method), request)
    held, working = held_after_a_step(config, request)
    assert predicted.held == held
    assert working == pytest.approx(predicted.step, rel=0.05, abs=4096)
