"""The ways of training that `training.py` compares, each on the same workload.

A contender trains in the process that calls it, tells the recorder of every step, and returns in
words what it was. It knows nothing of the others.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from training_workload import Recorder, Workload, tokenizer


def load_adapted(workload: Workload, dtype: str = "", bits: int | None = None):
    """The model with the adapter that every contender starts from. dtype: the workload's if empty.

    bits: of the base, 4 for QLoRA's NF4 with double quantization.
    """
    import torch

    from lora_engine.base_models import BaseModel, load_base_model
    from lora_engine.spec import QuantizationSpec
    from lora_engine.training.models import adapter_model

    torch.manual_seed(0)
    quantization = QuantizationSpec(bits=bits) if bits else None
    precision = getattr(torch, dtype or workload.dtype)
    folder = BaseModel("random", Path(workload.model))
    base = load_base_model(folder, workload.device, precision, quantization)
    return adapter_model.add_adapter(base, workload.spec().method, quantized=bits is not None)


def ours(workload: Workload, recorder: Recorder, precision: str, bits: int | None = None) -> str:
    """Our loop on the path that it chooses itself."""
    from lora_engine.training import product_library
    from lora_engine.training.forward.select import choose_path
    from lora_engine.training.kernels import matmul
    from lora_engine.training.loop import Callbacks, Steps, TrainingData, TrainingProgress
    from lora_engine.training.objectives.supervised import Supervised
    from lora_engine.training.optimizers import factory

    if (
        precision == "float32" and workload.device == "cpu"
    ):  # as training/preparation.py does for a run
        sizes = product_library.Sizes(1024, 256, 688)
        matmul.use(product_library.measure(sizes).faster)
    spec, rows = workload.spec(), workload.rows()
    model = load_adapted(workload, precision, bits)
    optimizer = factory.make_optimizer(model, spec.method, spec.optimization)
    path = choose_path(model, rows, 0, workload.device)
    callbacks = Callbacks(
        on_step=lambda row: recorder.step(row.loss),
        save_checkpoint=lambda _: None,
        memory_bytes=lambda: 0,
    )
    recorder.start()
    data = TrainingData(rows, [], workload.plan())
    steps = Steps(
        Supervised(path), optimizer, data, spec.optimization, TrainingProgress(), callbacks
    )
    while not steps.are_done:
        steps.make()
    return path.description


def ours_auto(workload: Workload, recorder: Recorder) -> str:
    """Ours in what `precision: auto` means for this base on this machine."""
    from lora_engine.base_models import BaseModel
    from lora_engine.training.precision import precision_of

    base = BaseModel("random", Path(workload.model))
    precision = precision_of(workload.spec(), workload.device, base)
    return f"{precision}; {ours(workload, recorder, precision)}"


def with_trainer(
    workload: Workload,
    recorder: Recorder,
    collator,
    bits: int | None = None,
    dtype: str = "",
    **arguments,
) -> None:
    """transformers' Trainer on the rows in the plan's order."""
    from transformers import Trainer, TrainingArguments

    settings = TrainingArguments(**trainer_arguments(workload), **arguments)
    recording = record_steps(Trainer, recorder)
    rows = [
        {"input_ids": list(row.input_ids), "labels": list(row.labels)}
        for row in workload.rows_in_order()
    ]
    trainer = recording(
        load_adapted(workload, dtype, bits), settings, train_dataset=rows, data_collator=collator
    )
    trainer.train()


def plain_trainer(workload: Workload, recorder: Recorder, **arguments) -> str:
    from transformers import DataCollatorForSeq2Seq

    with_trainer(
        workload, recorder, DataCollatorForSeq2Seq(tokenizer(workload), padding=True), **arguments
    )
    return "Trainer + PEFT, padded to the longest row of the batch"


def flattening_trainer(workload: Workload, recorder: Recorder) -> str:
    from transformers import DataCollatorWithFlattening

    with_trainer(workload, recorder, DataCollatorWithFlattening())
    return "Trainer + PEFT, DataCollatorWithFlattening"


def with_trl(workload: Workload, recorder: Recorder, **arguments) -> str:
    """TRL's SFTTrainer on the rows in the plan's order."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = [
        {"input_ids": list(row.input_ids), "labels": list(row.labels)}
        for row in workload.rows_in_order()
    ]
    settings = SFTConfig(
        **trainer_arguments(workload),
        max_length=None,
        **arguments,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    trainer = record_steps(SFTTrainer, recorder)(
        load_adapted(workload),
        settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer(workload),
    )
    trainer.train()
    return f"SFTTrainer {arguments or 'with its defaults'}"


def unsloth(workload: Workload, recorder: Recorder) -> str:
    """Unsloth's own model and adapter of the same shape, in TRL's trainer, as its guide has it."""
    from unsloth import FastLanguageModel  # isort: skip  # before the libraries that it changes
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    model, words = FastLanguageModel.from_pretrained(
        workload.model, max_seq_length=512, dtype=None, load_in_4bit=False
    )
    method = workload.spec().method
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = FastLanguageModel.get_peft_model(
        model, r=method.rank, lora_alpha=2 * method.rank, lora_dropout=0, target_modules=names
    )
    rows = [
        {"input_ids": list(row.input_ids), "labels": list(row.labels)}
        for row in workload.rows_in_order()
    ]
    settings = SFTConfig(
        **trainer_arguments(workload),
        max_length=None,
        bf16=True,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    trainer = record_steps(SFTTrainer, recorder)(
        model, settings, train_dataset=Dataset.from_list(rows), processing_class=words
    )
    trainer.train()
    return "Unsloth's FastLanguageModel in SFTTrainer"


def llamafactory(workload: Workload, recorder: Recorder, **arguments) -> str:
    """LLaMA-Factory's supervised fine-tuning from the same adapter, on the rows in order."""
    from datasets import Dataset, DatasetDict
    from llamafactory.train.sft import workflow
    from llamafactory.train.tuner import run_exp

    rows = [
        {
            "input_ids": list(row.input_ids),
            "attention_mask": [1] * len(row.input_ids),
            "labels": list(row.labels),
            "images": None,
            "videos": None,
            "audios": None,
        }
        for row in workload.rows_in_order()
    ]
    tokenized = str(Path(workload.folder) / "tokenized")
    DatasetDict({"train": Dataset.from_list(rows)}).save_to_disk(tokenized)
    workflow.CustomSeq2SeqTrainer = record_steps(workflow.CustomSeq2SeqTrainer, recorder)
    settings = trainer_arguments(workload)
    del settings["train_sampling_strategy"]
    asked = {
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "model_name_or_path": workload.model,
        "adapter_name_or_path": workload.adapter,
        "template": "empty",
        "dataset": "named, but what is read is already tokenized",
        "tokenized_path": tokenized,
        "disable_shuffling": True,
        "overwrite_output_dir": True,
    }
    run_exp({**settings, **asked, **arguments})
    return f"LLaMA-Factory {arguments or 'with its defaults'}"


def trainer_arguments(workload: Workload) -> dict:
    """The workload in Trainer's words; everything else is Trainer's default."""
    return {
        "output_dir": str(Path(workload.folder) / "out"),
        "per_device_train_batch_size": 8,
        "max_steps": workload.steps,
        "learning_rate": workload.spec().optimization.learning_rate,
        "lr_scheduler_type": "constant",
        "train_sampling_strategy": "sequential",
        "remove_unused_columns": False,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": workload.device == "cpu",
    }


def record_steps(base: type, recorder: Recorder) -> type:
    """A Trainer class that tells the recorder of every step."""
    from transformers import TrainerCallback

    class Ended(TrainerCallback):
        def on_train_begin(self, *_, **__):
            recorder.start()

        def on_step_end(self, *_, **__):
            recorder.step(losses.pop())

    losses: list[float] = []

    class Recording(base):
        def __init__(self, *arguments, **keywords):
            super().__init__(*arguments, **keywords)
            self.add_callback(Ended())

        def training_step(self, *arguments, **keywords):
            loss = super().training_step(*arguments, **keywords)
            losses.append(float(loss))
            return loss

    return Recording


CONTENDERS: dict[str, Callable[[Workload, Recorder], str]] = {
    "trainer": plain_trainer,
    "trainer_bf16": lambda workload, recorder: plain_trainer(workload, recorder, bf16=True),
    "trainer_as_stored": lambda workload, recorder: plain_trainer(
        workload, recorder, dtype=workload.stored
    ),
    "trainer_flattening": flattening_trainer,
    "trl_defaults": with_trl,
    "trl_padding_free": lambda workload, recorder: with_trl(
        workload, recorder, padding_free=True, bf16=False, gradient_checkpointing=False
    ),
    "trainer_4bit": lambda workload, recorder: plain_trainer(workload, recorder, bits=4, bf16=True),
    "ours_4bit": lambda workload, recorder: ours(workload, recorder, "bfloat16", 4),
    "unsloth": unsloth,
    "llamafactory": llamafactory,
    "llamafactory_no_checkpointing": lambda workload, recorder: llamafactory(
        workload, recorder, disable_gradient_checkpointing=True
    ),
    "ours_float32": lambda workload, recorder: ours(workload, recorder, "float32"),
    "ours_bfloat16": lambda workload, recorder: ours(workload, recorder, "bfloat16"),
    "ours_auto": ours_auto,
}
OF_STORED = ("trainer_as_stored", "ours_auto")  # they differ from others with --stored alone
NEEDS = {
    "trl_defaults": "trl",
    "trl_padding_free": "trl",
    "unsloth": "unsloth",
    "trainer_4bit": "bitsandbytes",
    "ours_4bit": "bitsandbytes",
    "llamafactory": "llamafactory",
    "llamafactory_no_checkpointing": "llamafactory",
}
