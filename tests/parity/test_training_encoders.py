"""Encoders with heads of several parts, in 32 and in 4 bits: runs have PEFT's losses, and what they
save computes the same under plain PEFT."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from bitsandbytes.nn import Linear4bit
from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from sklearn.utils.class_weight import compute_class_weight
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BitsAndBytesConfig,
)

from lora_engine.adapters.check import check_adapter
from lora_engine.base_models import resolve_base_model
from lora_engine.data.class_labels import Classes
from lora_engine.errors import InvalidInput
from lora_engine.spec import QuantizationSpec
from lora_engine.training.forward.classifier_path import ClassifierPath
from lora_engine.training.models.classifier import load_trained_classifier
from lora_engine.training.objectives.weighted_classes import balanced_weights
from lora_engine.training.preflight import check_run
from lora_engine.training.preparation import prepare
from tests.plain_training import plain_losses
from tests.tiny_classifier import save_tiny_encoder, write_tagged, write_texts
from tests.training_runs import losses, tiny_spec, train_here

STEPS = 3
OPTIMIZATION = {
    "learning_rate": 0.003, "schedule": "constant", "warmup_ratio": 0.0, "max_steps": STEPS,
    "batch_size": 4, "eval_every": 2,
}  # fmt: skip
KINDS = ("bert", "roberta", "distilbert", "deberta-v2")
PARTS = {"bert": ["pooler"], "distilbert": ["pre_classifier"], "deberta-v2": ["pooler"]}
AUTO = {
    "sequence_classification": (AutoModelForSequenceClassification, "SEQ_CLS"),
    "token_classification": (AutoModelForTokenClassification, "TOKEN_CLS"),
}
TEXTS, WORDS = AUTO
FOUR, EIGHT = {"bits": 4, "type": "nf4", "double": True}, {"bits": 8}


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoders")
    return {kind: save_tiny_encoder(folder / kind, kind) for kind in KINDS}


def heads(kind: str, task: str) -> list[str]:
    return ["classifier", *(PARTS.get(kind, []) if task == TEXTS else [])]


def theirs(job, folder, kind, quantized):
    """The base as transformers loads it, with its head drawn by the run's seed."""
    auto, task_type = AUTO[job.spec.task]
    options, skipped = {}, [*heads(kind, job.spec.task), "bert.pooler"]
    if quantized:
        config = (
            BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skipped)
            if quantized == EIGHT
            else BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=torch.float32,
                llm_int8_skip_modules=skipped,
            )
        )
        options = {"quantization_config": config, "device_map": {"": "cpu"}}
    torch.manual_seed(job.spec.seed)
    base = auto.from_pretrained(
        folder, num_labels=len(job.data.labels), dtype=torch.float32, **options
    )
    for module in base.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False  # its product in eval mode is in bfloat16
    return base, task_type


def path_over(model, job) -> ClassifierPath:
    classes = Classes(job.data.labels, job.spec.task == WORDS)
    return ClassifierPath(model, job.tokenizer.pad_token_id, "cpu", torch.float32, classes)


def pefts_losses(job, folder, kind, quantized) -> list[float]:
    base, task_type = theirs(job, folder, kind, quantized)
    if quantized:
        base = prepare_model_for_kbit_training(base, use_gradient_checkpointing=False)
    config = LoraConfig(
        task_type=task_type, r=4, lora_alpha=8, target_modules="all-linear",
        modules_to_save=heads(kind, job.spec.task),
    )  # fmt: skip
    model = get_peft_model(base, config).train()
    return plain_losses(model, job, path_over(model, job), STEPS)


@pytest.mark.parametrize(
    ("kind", "task", "quantized"),
    [
        ("bert", TEXTS, None),
        ("distilbert", TEXTS, None),
        ("deberta-v2", TEXTS, None),
        ("bert", WORDS, FOUR),
        ("roberta", TEXTS, FOUR),
        ("distilbert", TEXTS, FOUR),
        ("bert", TEXTS, EIGHT),
    ],
)
def test_a_run_has_pefts_losses_and_its_adapter_opens(
    kind, task, quantized, encoders, settings, tmp_path
):
    folder = encoders[kind]
    rows = (write_texts if task == TEXTS else write_tagged)(tmp_path / "rows.jsonl", 60)
    spec = tiny_spec(
        folder,
        rows,
        task=task,
        quantization=quantized,
        method={"rank": 4, "target_modules": "all-linear"},
        optimization=OPTIMIZATION,
    )
    check_run(spec, settings)
    directory, _ = train_here(spec, tmp_path / "run", settings)
    job = prepare(directory, settings)
    expected = pefts_losses(job, folder, kind, quantized)
    assert list(losses(directory).values()) == pytest.approx(expected, rel=1e-4)

    config = json.loads((directory.adapter_path / "adapter_config.json").read_text())
    assert set(heads(kind, task)) <= set(config["modules_to_save"])
    base, _ = theirs(job, folder, kind, quantized)
    torch.manual_seed(99)  # a fresh head, which the adapter's own must replace
    for name, parameter in base.named_parameters():
        if any(head in name for head in heads(kind, task)):
            torch.nn.init.normal_(parameter)
    opened = path_over(PeftModel.from_pretrained(base, str(directory.adapter_path)).eval(), job)
    check = check_adapter(directory.adapter_path, resolve_base_model(str(folder), settings), task)
    bits = None if quantized is None else QuantizationSpec.model_validate(quantized)
    model = load_trained_classifier(
        resolve_base_model(str(folder), settings),
        job.data.labels,
        check,
        "cpu",
        torch.float32,
        bits,
    )
    ours = path_over(model.eval(), job)
    batch = ours.collate(job.data.evaluation)
    with torch.no_grad():
        torch.testing.assert_close(ours.logits(batch), opened.logits(batch), rtol=1e-4, atol=1e-5)
    head = [p for name, p in model.named_parameters() if "classifier.modules_to_save" in name]
    assert head
    assert all(parameter.dtype == torch.float32 for parameter in head)


def test_balanced_classes_have_torchs_weighted_loss(encoders, settings, tmp_path):
    """Of one class 9 rows, of the other 3, in steps of two passes."""
    rows = [
        json.loads(line) for line in write_texts(tmp_path / "all.jsonl").read_text().split("\n")
    ]
    few = [row for row in rows if row["label"] == "animal"][:9]
    few += [row for row in rows if row["label"] == "plant"][:3]
    path = tmp_path / "few.jsonl"
    path.write_text("\n".join(map(json.dumps, few)))
    optimization = {**OPTIMIZATION, "batch_size": 3, "gradient_accumulation": 2}
    spec = tiny_spec(
        encoders["roberta"], path, task=TEXTS, dataset={"eval_fraction": 0.25},
        objective={"class_weights": "balanced"}, method={"rank": 4}, optimization=optimization,
    )  # fmt: skip
    directory, _ = train_here(check_run(spec, settings), tmp_path / "run", settings)
    job = prepare(directory, settings)
    classes = [row.labels[0] for row in job.data.training]
    weights = balanced_weights(job.data.training, 2)
    assert weights == pytest.approx(
        compute_class_weight("balanced", classes=np.array([0, 1]), y=np.array(classes))
    )
    base, task_type = theirs(job, encoders["roberta"], "roberta", None)
    model = get_peft_model(
        base, LoraConfig(task_type=task_type, r=4, lora_alpha=8, target_modules="all-linear")
    ).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, optimization["learning_rate"], weight_decay=0)
    over, found = path_over(model, job), []
    for step in range(1, STEPS + 1):
        chosen = [job.data.training[n] for numbers in job.plan.batches(step) for n in numbers]
        batch = over.collate(chosen)
        loss = cross_entropy(over.logits(batch), batch.labels.flatten(), torch.tensor(weights))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, job.spec.optimization.max_grad_norm)
        optimizer.step()
        found.append(float(loss.detach()))
    assert list(losses(directory).values()) == pytest.approx(found, rel=1e-4)
    over.model.eval()
    last = directory.last_metrics()
    batch = over.collate(job.data.evaluation)
    with torch.no_grad():
        plain = cross_entropy(over.logits(batch), batch.labels.flatten())
    assert last.eval_loss == pytest.approx(float(plain), rel=1e-4)  # unweighted


def test_weights_of_classes_are_for_classifiers(encoders, settings, tmp_path, rows_file):
    with pytest.raises(InvalidInput) as refused:
        check_run(
            tiny_spec("starter", rows_file, objective={"class_weights": "balanced"}), settings
        )
    assert [one.path for one in refused.value.problems] == ["objective.class_weights"]
