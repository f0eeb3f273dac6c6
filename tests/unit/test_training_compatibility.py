"""What cannot run here, or not together, is refused with the field and the reason."""

import pytest

from lora_engine.errors import InvalidInput
from lora_engine.spec import spec_from
from lora_engine.training.compatibility import (
    OPTIONAL_PACKAGES,
    Machine,
    compatibility_problems,
    unavailable_choices,
)
from lora_engine.training.preflight import check_run

GPU = Machine(True, frozenset(OPTIONAL_PACKAGES))
CPU = Machine(False, frozenset(OPTIONAL_PACKAGES))
BARE = Machine(True, frozenset())
ON_HOST = {"offload_activations": True}
NF4 = {"bits": 4, "type": "nf4", "double": True}


def problems(machine, document):
    return {p.path: p.message for p in compatibility_problems(spec_from(document), machine)}


def test_the_defaults_run_anywhere():
    assert problems(Machine(False, frozenset()), {}) == {}


def test_pages_need_a_gpu_and_bitsandbytes_its_package():
    assert set(unavailable_choices(CPU)["optimization.optimizer"]) == {
        "paged_adamw",
        "paged_adamw_8bit",
    }
    assert unavailable_choices(GPU)["optimization.optimizer"] == {}
    paged = {"optimization": {"optimizer": "paged_adamw_8bit"}}
    assert "no GPU" in problems(CPU, paged)["optimization.optimizer"]
    assert problems(GPU, paged) == {}
    assert "pip install bitsandbytes" in problems(BARE, paged)["optimization.optimizer"]
    assert "pip install" in problems(BARE, {"quantization": NF4})["quantization.bits"]


def test_grpo_needs_rules_and_a_model_that_answers():
    assert set(problems(CPU, {"objective": {"kind": "grpo"}})) == {"objective.rules"}
    objective = {"kind": "grpo", "rules": [{"kind": "json_valid"}]}
    assert problems(CPU, {"objective": objective}) == {}
    classifier = {"objective": objective, "task": "token_classification"}
    assert "objective.kind" in problems(CPU, classifier)


def test_a_tracker_that_is_not_installed_is_named():
    document = {"report": {"report_to": ["tensorboard", "wandb"]}}
    machine = Machine(False, frozenset({"tensorboard"}))
    assert problems(machine, document) == {
        "report.report_to": "wandb cannot run here: wandb is not installed: pip install wandb"
    }


@pytest.mark.parametrize(
    ("document", "path", "words"),
    [
        ({"method": {"init": "pissa"}, "quantization": NF4}, "method.init", "loftq"),
        ({"method": {"init": "loftq"}}, "method.init", "4-bit"),
        ({"method": {"init": "orthogonal", "rank": 3}}, "method.rank", "even"),
        ({"method": {"finetuning_type": "full"}, "quantization": NF4}, "quantization", "lora"),
        ({"method": {"finetuning_type": "full", "use_dora": True}}, "method.use_dora", "none"),
        ({"method": {"lora_bias": True, "use_dora": True}}, "method.lora_bias", "DoRA"),
        (
            {"method": {"finetuning_type": "galore"}, "optimization": {"optimizer": "adafactor"}},
            "optimization.optimizer",
            "adamw",
        ),
        ({"method": {"finetuning_type": "ia3", "use_dora": True}}, "method.use_dora", "ia3"),
        ({"method": {"finetuning_type": "vera", "init": "pissa"}}, "method.init", "vera"),
        (
            {"method": {"finetuning_type": "prompt", "rank_pattern": {"q_proj": 2}}},
            "method.rank_pattern",
            "prompt",
        ),
        ({"method": {"finetuning_type": "loha"}, "quantization": NF4}, "quantization", "LoHa"),
        (
            {
                "method": {"finetuning_type": "prefix"},
                "optimization": {"gradient_checkpointing": True},
            },
            "optimization.gradient_checkpointing",
            "p_tuning",
        ),
        (
            {"method": {"finetuning_type": "bottleneck"}, "objective": {"kind": "grpo"}},
            "method.finetuning_type",
            "bottleneck",
        ),
        (
            {"objective": {"kind": "dpo"}, "task": "sequence_classification"},
            "objective.kind",
            "dpo",
        ),
        (
            {"objective": {"kind": "kto"}, "optimization": {"batch_size": 1}},
            "optimization.batch_size",
            "2 or more",
        ),
        (
            {"dataset": {"eval_fraction": 0.0}, "optimization": {"save_best": True}},
            "optimization.save_best",
            "eval_fraction",
        ),
    ],
)
def test_choices_that_exclude_each_other_are_refused(document, path, words):
    assert words in problems(GPU, document)[path]


@pytest.mark.parametrize(
    ("machine", "document"),
    [
        (CPU, {}),
        (GPU, {"task": "sequence_classification"}),
        (GPU, {"method": {"finetuning_type": "full"}}),
        (GPU, {"quantization": {"bits": 8}}),
        (GPU, {"optimization": {"stream_base": True}}),
        (
            Machine(True, frozenset(), devices=2),
            {"optimization": {"devices": 2, "sharding": "fsdp"}},
        ),
    ],
)
def test_what_activations_cannot_be_moved_to_the_host_for(machine, document):
    assert compatibility_problems(spec_from(document), Machine(True, GPU.packages, devices=2)) == []
    asked = {**document, "optimization": {**document.get("optimization", {}), **ON_HOST}}
    assert set(problems(machine, asked)) == {"optimization.offload_activations"}
    assert problems(GPU, {"optimization": ON_HOST, "quantization": NF4}) == {}


def test_the_check_before_a_run_reports_all_of_it(settings):
    document = {"method": {"init": "loftq"}, "optimization": {"optimizer": "paged_adamw"}}
    with pytest.raises(InvalidInput) as caught:
        check_run(spec_from({**document, "base_model": "nowhere"}), settings)
    paths = {problem.path for problem in caught.value.problems}
    assert paths == {"method.init", "optimization.optimizer", "base_model"}


@pytest.mark.parametrize("kind", ["prefix", "prompt", "p_tuning", "ia3", "bottleneck", "vera"])
def test_other_methods_take_a_quantized_base_and_ignore_lora_s_sizes(kind):
    method = {"finetuning_type": kind, "rank": 3, "alpha": 5.0, "dropout": 0.1, "freeze_layers": 9}
    assert problems(GPU, {"method": method, "quantization": NF4}) == {}
