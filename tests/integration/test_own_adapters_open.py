"""What our own training saves opens in Spectrum and Compare as PEFT opens it.

Every option that changes what is saved, on architectures that differ in where it goes: GPT-2's
Conv1D, tied heads, shared and fused experts.
"""

import json

import numpy as np
import pytest

from lora_engine.adapters.library import describe_adapter
from lora_engine.base_models import BaseModel
from lora_engine.errors import EngineError, InvalidInput
from lora_engine.run_folder import read_updates
from lora_engine.spectrum import read_adapter
from tests.adapter_forms import assert_is_peft_s
from tests.tiny import save_tiny_model
from tests.training_runs import tiny_spec, train_here

pytestmark = pytest.mark.filterwarnings("ignore")

MODELS = {
    "llama": {},
    "tied": {"architecture": "llama", "tie_word_embeddings": True},
    "gpt2": {},
    "qwen2_moe": {},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
}
RUNS = [
    ("llama", {"modules_to_save": ["norm"]}),
    ("llama", {"rank_pattern": {"q_proj": 2}, "use_rslora": True, "init": "pissa"}),
    ("llama", {"rank_pattern": {"q_proj": 6}, "alpha_pattern": {"self_attn.q_proj": 3.0}}),
    ("tied", {"modules_to_save": ["lm_head"]}),
    ("gpt2", {"modules_to_save": ["ln_f"], "bias": "all"}),
    ("gpt2", {"bias": "lora_only", "init": "olora"}),
    ("qwen2_moe", {}),
    ("mixtral", {"modules_to_save": ["norm"]}),
    ("mixtral", {"init": "pissa", "use_rslora": True}),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("own")
    rows = [
        {"messages": [{"role": "user", "content": f"Colour {number}?"},
                      {"role": "assistant", "content": "The sky is blue."}]}
        for number in range(16)
    ]  # fmt: skip
    (made / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return made


def base_of(folder, name):
    if not (folder / name).exists():
        save_tiny_model(folder / name, **{"architecture": name} | MODELS[name])
    return BaseModel(name, folder / name)


def run_spec(folder, base, method):
    optimization = {"max_steps": 2, "learning_rate": 0.05, "eval_every": 2}
    method = {"rank": 4, "alpha": 8, **method}
    return tiny_spec(base.path, folder / "rows.jsonl", method=method, optimization=optimization)


@pytest.mark.parametrize(("name", "method"), RUNS)
def test_a_run_s_adapter_opens(folder, settings, tmp_path, name, method):
    base = base_of(folder, name)
    directory, _ = train_here(run_spec(folder, base, method), tmp_path / "run", settings)
    assert_is_peft_s(base, directory.adapter_path)
    assert describe_adapter(directory.adapter_path).base_fingerprint is not None
    saved = {module.name: module for module in read_adapter(directory.adapter_path).modules}
    reported = read_updates(directory)[-1].modules
    assert {update.name for update in reported} == set(saved)
    for update in reported:
        norm = np.linalg.norm(saved[update.name].factors.dense())
        assert update.frobenius_norm == pytest.approx(norm, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"dropout": 0.1}, "dropout"),
        ({"lora_bias": True}, "bias on B"),
        ({"init": "eva"}, "EVA"),
    ],
)
def test_what_fused_experts_cannot_have_is_said(folder, settings, tmp_path, method, said):
    base = base_of(folder, "mixtral")
    with pytest.raises(EngineError, match=said) as caught:
        train_here(run_spec(folder, base, method), tmp_path / "run", settings)
    assert "expert" in caught.value.problem
    assert "attention" in caught.value.remedy
    assert "ParamWrapper" not in str(caught.value)


def test_modules_to_save_that_the_base_lacks_are_named(folder, settings, tmp_path):
    """PEFT trains without them and says nothing."""
    base = base_of(folder, "llama")
    method = {"modules_to_save": ["norm", "score_head"]}
    with pytest.raises(InvalidInput, match="method.modules_to_save: .*'score_head'") as caught:
        train_here(run_spec(folder, base, method), tmp_path / "run", settings)
    assert "'norm'" not in caught.value.problem
    assert "lm_head" in caught.value.remedy
