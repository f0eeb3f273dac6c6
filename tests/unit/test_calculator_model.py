"""Whole models: known answers, contract keys, resolution of targets, bad input."""

import json

import pytest
import typer

from lora_engine import calculator
from lora_engine.__main__ import build
from lora_engine.calculator import config_source, path_source, preset_source, read_method
from lora_engine.errors import EngineError, InvalidInput, NotFound
from lora_engine.spec import MAX_RANK, MethodSpec, spec_from
from tests.calculator_requests import lora

TINY = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
}


def count(preset, rank, targets, **options):
    return calculator.count_model(preset_source(preset), lora(rank, targets, **options))


def test_known_answers():
    assert count("llama-2-7b", 8, "q_proj,v_proj").trainable_parameters == 4_194_304
    assert count("llama-2-7b", 16, "all-linear").trainable_parameters == 39_976_960
    assert count("llama-2-7b", 16, "all-linear").base_parameters == 6_738_415_616
    assert count("mistral-7b", 16, "all-linear").trainable_parameters == 41_943_040
    assert count("gpt2", 8, "c_attn").trainable_parameters == 294_912
    assert count("llama-3-8b", 1, "all-linear").trainable_parameters == 2_621_440


def test_at_least_sixteen_presets():
    assert len(calculator.PRESETS) >= 16
    assert all(p.source.startswith("https://") for p in calculator.PRESETS.values())


def test_contract_keys_and_sums():
    found = json.loads(json.dumps(count("gpt2", 8, "all-linear").to_json()))
    assert found.keys() >= {"base_parameters", "trainable_parameters", "trainable_fraction"}
    module = found["modules"][0]
    assert module.keys() >= {"name", "in_features", "out_features", "rank", "parameters"}
    assert sum(m["parameters"] for m in found["modules"]) == found["trainable_parameters"]
    assert sum(k["parameters"] for k in found["kinds"]) == found["trainable_parameters"]


def test_modules_come_in_the_models_order():
    names = [m.name for m in count("llama-2-7b", 8, "q,v").modules]
    assert names[:3] == [
        "model.layers.0.self_attn.q_proj",
        "model.layers.0.self_attn.v_proj",
        "model.layers.1.self_attn.q_proj",
    ]
    assert names[-1] == "model.layers.31.self_attn.v_proj"


def test_layer_matrix_holds_every_parameter_once():
    counted = count("t5-base", 4, "all-linear")
    matrix = counted.layer_matrix()
    assert len(matrix.layers) == 24
    assert sum(map(sum, matrix.parameters)) == counted.trainable_parameters
    in_decoder = matrix.parameters[matrix.layers.index("decoder.block.0")]
    in_encoder = matrix.parameters[matrix.layers.index("encoder.block.0")]
    assert in_encoder.count(0) == 4  # no cross-attention
    assert in_decoder.count(0) == 0


def test_fused_experts_double_the_rank_as_peft_does():
    experts = [m for m in count("mixtral-8x7b", 16, "w1,w2,w3").modules if m.experts == 8]
    ranks = {m.name.rpartition(".")[2]: m.rank for m in experts}
    assert ranks == {"gate_up_proj": 32, "down_proj": 16}


def test_rank_pattern_changes_one_layer_only():
    counted = count("gpt2", 8, "c_attn", rank_pattern={"h.3.attn.c_attn": 32})
    assert [m.rank for m in counted.modules] == [8, 8, 8, 32] + [8] * 8


def test_unmatched_rank_pattern_is_said():
    counted = count("gpt2", 8, "c_attn", rank_pattern={"q_proj": 32})
    assert "q_proj" in counted.warnings[0]


def test_rank_above_the_weight_warns():
    counted = calculator.count_model(config_source(TINY), lora(40, "q_proj"))
    assert "min(d, k) = 32" in counted.warnings[0]
    assert counted.trainable_parameters == 4 * 40 * 64


def test_fused_roles_are_said():
    assert "c_attn" in count("gpt2", 8, "q,v").warnings[0]


def test_folder_file_and_mapping_are_the_same_model(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    choice = lora(2, "all-linear")
    totals = {
        calculator.count_model(source, choice).trainable_parameters
        for source in (
            path_source(tmp_path),
            path_source(tmp_path / "config.json"),
            config_source(TINY),
        )
    }
    assert totals == {4 * 2 * (2 * 64 + 2 * 48 + 3 * 80)}


def test_code_kernels_and_quantization_in_a_config_are_not_used():
    given = TINY | {
        "auto_map": {"AutoModelForCausalLM": "evil.Model"},
        "_attn_implementation": "org/evil-kernel",
        "quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True},
    }
    source = config_source(given)
    assert not {"auto_map", "_attn_implementation"} & source.config.keys()
    assert len(source.notes) == 2
    assert calculator.count_model(source, lora(2, "q,v")).trainable_parameters > 0


@pytest.mark.parametrize("rank", [0, -4, 5000, 10**9, 2.5, "8"])
def test_bad_rank(rank):
    with pytest.raises(InvalidInput) as caught:
        lora(rank)
    assert [p.path for p in caught.value.problems] == ["method.rank"]


def test_the_spec_says_what_is_wrong_with_a_method():
    fields = {"rank": 5000, "alpha": 0.0, "dropout": 1.0}
    with pytest.raises(InvalidInput) as here:
        lora(**fields)
    with pytest.raises(InvalidInput) as there:
        spec_from({"method": fields})
    assert here.value.problems == there.value.problems
    assert [p.path for p in here.value.problems] == [
        "method.rank",
        "method.alpha",
        "method.dropout",
    ]


@pytest.mark.parametrize("name", ["(a+)+$", "q_proj|v_proj", ".*", "a b", "../x", "", "x" * 400])
def test_a_pattern_is_never_a_target(name):
    for field in ("target_modules", "modules_to_save"):
        with pytest.raises(InvalidInput) as caught:
            read_method(**{"target_modules": ("q_proj",), field: (name,)})
        assert caught.value.problems[0].path.startswith(f"method.{field}")
    with pytest.raises(InvalidInput) as caught:
        lora(8, ("q_proj",), rank_pattern={name: 4})
    assert caught.value.problems[0].path.startswith("method.rank_pattern")


def test_everything_wrong_with_a_choice_is_said_at_once():
    with pytest.raises(InvalidInput) as caught:
        lora(0, (), alpha=-1.0, dropout=2.0, rank_pattern={"q": 0})
    paths = {p.path.removeprefix("method.") for p in caught.value.problems}
    assert paths == {"rank", "target_modules", "alpha", "dropout", "rank_pattern.q"}


def test_a_target_that_matches_nothing_lists_what_would():
    with pytest.raises(InvalidInput) as caught:
        count("llama-2-7b", 8, "q_proj,query")
    assert "'query' matches no module" in caught.value.problem
    assert "q_proj" in caught.value.remedy
    assert "'q_proj'" not in caught.value.problem


def test_a_layer_norm_is_no_target():
    with pytest.raises(InvalidInput, match="input_layernorm"):
        count("llama-2-7b", 8, "input_layernorm")


def test_a_saved_module_that_is_not_there():
    with pytest.raises(InvalidInput, match="lm_heed") as caught:
        count("llama-2-7b", 8, "q_proj", modules_to_save=("lm_heed",))
    assert "lm_head" in caught.value.remedy


def test_pefts_refusal_is_shown():
    with pytest.raises(EngineError, match="w3"):
        count("mixtral-8x7b", 8, "w1")


def bad(**fields):
    return {k: v for k, v in (TINY | fields).items() if v is not ...}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (bad(model_type="lama"), "model_type"),
        (bad(model_type=...), "model_type"),
        (bad(model_type=7), "model_type"),
        (bad(num_hidden_layers=10**7), "num_hidden_layers"),
        (bad(num_hidden_layers=...), "num_hidden_layers"),
        (bad(hidden_size=...), "hidden_size"),
        (bad(hidden_size=10**9), "hidden_size"),
        (bad(hidden_size="big"), "hidden_size"),
        (bad(hidden_size=-32), "hidden_size"),
        (bad(num_attention_heads=0), "num_attention_heads"),
        (bad(num_attention_heads=5), "heads"),
        (bad(num_labels=10**7), "num_labels"),
        (bad(architectures=["PeftModel"]), "architectures"),
        (bad(architectures="LlamaForCausalLM"), "architectures"),
        (bad(hidden_act="nonsense"), "nonsense"),
        (bad(rms_norm_eps=float("inf")), "rms_norm_eps"),
        (bad(backbone="org/model", use_pretrained_backbone=True), "backbone"),
        (bad(peft_type="LORA"), "peft_type"),
        ({"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}, "n_embd"),
        ({"model_type": "gemma3", "text_config": {"hidden_size": 8}}, "text_config"),
    ],
)
def test_a_bad_config_names_its_field(config, said):
    with pytest.raises(EngineError) as caught:
        calculator.count_model(config_source(config), lora(2))
    assert said in str(caught.value)


def test_layers_times_experts_are_bounded():
    config = {
        "model_type": "switch_transformers",
        "d_model": 8,
        "d_kv": 4,
        "d_ff": 8,
        "num_layers": 512,
        "num_decoder_layers": 512,
        "num_sparse_encoder_layers": 512,
        "num_heads": 2,
        "num_experts": 512,
        "vocab_size": 16,
    }
    with pytest.raises(EngineError, match="modules"):
        calculator.count_model(config_source(config), lora(2))


@pytest.mark.parametrize("content", [b"", b"[1, 2]", b"{", b"\xff\xfe", b"[" * 100_000, b"nul"])
def test_files_that_are_no_config(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(EngineError, match="config.json"):
        path_source(tmp_path)


def test_a_file_too_large_and_a_file_that_is_not_there(tmp_path):
    (tmp_path / "config.json").write_bytes(b" " * (1 << 21))
    with pytest.raises(EngineError, match="1 MiB"):
        path_source(tmp_path)
    with pytest.raises(NotFound):
        path_source(tmp_path / "nothing")
    with pytest.raises(NotFound, match="llama-2-7b"):
        preset_source("llama2-7b")


def test_nesting_without_end_is_refused():
    deep = {}
    for _ in range(50):
        deep = {"a": deep}
    with pytest.raises(InvalidInput, match="nested"):
        config_source(TINY | deep)


def test_fields_left_to_a_default_are_said():
    given = {k: v for k, v in TINY.items() if k != "vocab_size"}
    counted = calculator.count_model(config_source(given), lora(2, "q_proj"))
    assert any("vocab_size" in w and "32,000" in w for w in counted.warnings)


def test_available_modules_of_llama():
    found = {m.name: m for m in calculator.available_modules(preset_source("llama-3-8b"))}
    q = found["k_proj"]
    shape = (q.targets, q.kind, q.in_features, q.out_features, q.layers)
    assert shape == (("k_proj",), "linear", 4096, 1024, 32)
    assert found["lm_head"].head
    assert found["embed_tokens"].kind == "embedding"


def test_a_size_that_is_no_number_is_named_where_only_memory_reads_it():
    with pytest.raises(InvalidInput, match="num_experts_per_tok"):
        calculator.read_profile(config_source(TINY | {"num_experts_per_tok": [2]}), lora(2))


@pytest.mark.parametrize(
    "name", ["", "a", "../x", "a/b/c", "https://evil/x", "a/b;rm", 7, "a/" * 60]
)
def test_a_bad_hub_id_is_never_asked_for(name, monkeypatch):
    import huggingface_hub

    def never(*_, **__):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", never)
    with pytest.raises(InvalidInput, match="hub id"):
        calculator.hub_source(name)


def test_a_hub_that_does_not_answer_is_said(monkeypatch):
    import huggingface_hub

    def fails(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fails)
    with pytest.raises(EngineError, match="no route"):
        calculator.hub_source("meta-llama/Llama-2-7b-hf")


def test_a_hub_id_is_read_like_a_file(monkeypatch, tmp_path):
    import huggingface_hub

    (tmp_path / "config.json").write_text(json.dumps(TINY))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_: tmp_path / "config.json")
    assert calculator.hub_source("some/model") == calculator.config_source(TINY, "some/model")


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (["params", "--preset", "gpt2", "--rank", "5000"], "method.rank"),
        (["params", "--preset", "gpt2", "--bias", "some"], "method.bias"),
        (["memory", "--preset", "gpt2", "--rank", "5000"], "method.rank"),
        (["memory", "--preset", "gpt2", "--bits", "3"], "quantization.bits"),
        (["memory", "--preset", "gpt2", "--method", "full", "--bits", "8"], "quantization"),
    ],
)
def test_the_command_line_refuses_what_the_spec_refuses(words, path):
    with pytest.raises(InvalidInput) as caught:
        typer.main.get_command(build()).main(words, standalone_mode=False)
    assert [problem.path for problem in caught.value.problems] == [path]


def test_the_command_lines_help_is_the_specs():
    command = typer.main.get_command(build()).commands["memory"]
    helps = {option.name: option.help for option in command.params}
    rank = MethodSpec.model_fields["rank"]
    assert rank.description in helps["rank"]
    assert f"{MAX_RANK:,}" in helps["rank"]
