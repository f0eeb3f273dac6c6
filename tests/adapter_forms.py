"""Adapters that PEFT makes, and what Spectrum and Compare make of them: help for the tests."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from peft import PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer, ParamWrapper
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from lora_engine.adapters.check import check_adapter
from lora_engine.compare.generate.adapter_settings import AdapterVariant
from lora_engine.compare.generate.adapter_switch import AdapterSwitch
from lora_engine.compare.generate.mixed_lora_layer import AdapterRows
from lora_engine.spectrum import read_adapter

TOKENS = torch.arange(12).reshape(2, 6) + 3


def load(base):
    return AutoModelForCausalLM.from_pretrained(base.path).eval()


def make(base, folder, config, dtype=torch.float32, **saving):
    """An adapter with random factors, saved by PEFT into `folder`; its PeftModel."""
    adapted = get_peft_model(load(base), config)
    torch.manual_seed(1)
    for key, parameter in adapted.named_parameters():
        if "lora_magnitude" in key:
            parameter.data *= 1.1
        elif "lora_" in key:
            parameter.data = 0.2 * torch.randn_like(parameter)
        elif parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    if dtype != torch.float32:
        adapted = adapted.to(dtype)
    adapted.save_pretrained(folder, **saving)
    return adapted.eval()


def peft_updates(adapted):
    """By name: the scaling and update of each module, and of each expert of a fused weight."""
    found = {}
    for name, module in adapted.named_modules():
        if not isinstance(module, LoraLayer):
            continue
        name = name.removeprefix("base_model.model.")
        update = module.get_delta_weight("default").detach().double().numpy()
        scaling = module.scaling["default"]
        if not isinstance(module, ParamWrapper):
            found[name] = scaling, update
            continue
        holder = name.replace(".base_layer", "")
        if update.ndim == 2:
            found[f"{holder}.{module.parameter_name}"] = scaling, update
            continue
        for expert, own in enumerate(update):
            found[f"{holder}.{expert}.{module.parameter_name}"] = scaling, own
    return found


def compare_logits(base, folder, tokens=TOKENS):
    """Compare's logits of the base and of the adapter, and the base's after the adapter's."""
    model = load(base)
    switch = AdapterSwitch(model)
    switch.add("one", check_adapter(folder, base))
    logits = [logits_of(model, switch, adapter, tokens) for adapter in (None, "one", None)]
    with torch.no_grad(), switch.bare_base():
        return [*logits, model(tokens).logits]


def logits_of(model, switch, adapter, tokens=TOKENS):
    """The model's logits with one adapter, or none, on all rows."""
    rows = [AdapterRows(AdapterVariant(adapter), 0, len(tokens))]
    with torch.no_grad(), switch.applied(rows):
        return model(tokens).logits


def assert_is_peft_s(base, folder):
    loaded = PeftModel.from_pretrained(load(base), folder).eval()
    expected = peft_updates(loaded)
    modules = {module.name: module for module in read_adapter(folder).modules}
    assert set(modules) == set(expected)
    for name, (scaling, update) in expected.items():
        assert modules[name].scaling == pytest.approx(scaling, rel=1e-12), name
        ours = modules[name].factors.dense()
        if update.shape != ours.shape or not np.allclose(ours, update, atol=1e-6):
            ours = ours.T  # Conv1D and embeddings are stored the other way round
        np.testing.assert_allclose(ours, update, atol=1e-6, err_msg=name)
    with torch.no_grad():
        theirs = loaded(TOKENS).logits
        plain = load(base)(TOKENS).logits
    before, ours, after, bare = compare_logits(base, folder, TOKENS)
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-5)
    assert (ours - plain).abs().max() > 1e-4
    for logits in (before, after, bare):
        torch.testing.assert_close(logits, plain, atol=1e-6, rtol=1e-6)


def changed(folder, to, change_keys=None, change_tensors=None, **config):
    """A copy of an adapter with other keys, tensors or fields of its configuration."""
    shutil.copytree(folder, to)
    path = to / "adapter_model.safetensors"
    tensors = {}
    for key, tensor in load_file(path).items():
        new = change_keys(key) if change_keys else key
        if new is not None:
            tensors[new] = change_tensors(tensor).contiguous() if change_tensors else tensor
    save_file(tensors, path)
    document = json.loads((to / "adapter_config.json").read_text())
    (to / "adapter_config.json").write_text(json.dumps(document | config))
    return to
