"""What a classifier's adapter says of itself, so that nobody has to be asked: its task, its
classes, the base and the precision that it was trained on.

From its configuration, its provenance and the header of its weights; loads nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lora_engine.adapters import read_provenance
from lora_engine.adapters.config import WEIGHTS_FILE, AdapterConfig, read_applicable_config
from lora_engine.adapters.lora_config import HEADS, TASK_TYPES
from lora_engine.adapters.summary import describe_adapter, object_in
from lora_engine.base_models import BaseModel, resolve_base_model
from lora_engine.base_models.config_file import config_of
from lora_engine.data.class_labels import MAX_LABELS, Classes
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.settings import Settings
from lora_engine.spec import OptimizationSpec, QuantizationSpec, RunSpec, Task, spec_from
from lora_engine.weights.safetensors_file import scan

CLASSIFYING: dict[str, Task] = {
    TASK_TYPES[task]: task for task in ("sequence_classification", "token_classification")
}
LAST_LAYERS = (*HEADS, "out_proj")  # of a head, as transformers calls them
MAX_LABEL_CHARACTERS = 200


@dataclass(frozen=True)
class ClassifierFacts:
    """A classifier's adapter on its base. seed: with which its run drew the first head.

    quantization: of the base in the run. max_length: tokens of a row in it. notes: what the person
    should know of where these come from.
    """

    path: Path
    base: BaseModel
    task: Task
    classes: Classes
    quantization: QuantizationSpec | None
    max_length: int
    seed: int
    notes: tuple[str, ...]


def is_classifier(folder: Path) -> bool:
    """Whether the adapter in a folder classifies. Raises as `read_applicable_config` does."""
    return read_applicable_config(folder).task_type in CLASSIFYING


def facts_of(folder: Path, settings: Settings, base: str = "") -> ClassifierFacts:
    """The facts of the adapter in a folder. base: another base than the one that it names.

    Raises EngineError for an adapter that does not classify, that names no base, or whose classes
    cannot be counted.
    """
    config = read_applicable_config(folder)
    task = CLASSIFYING.get(config.task_type or "")
    if task is None:
        raise EngineError(
            tr(
                "{folder} is an adapter for {task_type}, and has no classes.",
                folder=folder,
                task_type=config.task_type or "no task that it names",
            ),
            tr(
                "Ask it questions instead: on Compare, or with `compare --adapter`. To be "
                "tried out here, an adapter is trained with the task sequence_classification "
                "or token_classification."
            ),
        )
    named = base or describe_adapter(folder).base_model
    if not named:
        raise EngineError(
            tr("{folder} does not say which base model it was trained on.", folder=folder),
            tr("Choose the base model too."),
        )
    found = resolve_base_model(named, settings)
    spec, notes = _spec_of(folder)
    labels, said = _labels(folder, config, found)
    optimization = OptimizationSpec() if spec is None else spec.optimization
    return ClassifierFacts(
        path=folder,
        base=found,
        task=task,
        classes=Classes(labels, task == "token_classification"),
        quantization=None if spec is None else spec.quantization,
        max_length=optimization.max_length,
        seed=0 if spec is None else spec.seed,
        notes=(*notes, *said),
    )


def _spec_of(folder: Path) -> tuple[RunSpec | None, tuple[str, ...]]:
    document = object_in(read_provenance(folder) or {}, "spec")
    if document:
        return spec_from(dict(document)), ()
    return None, (
        tr(
            "The adapter does not say how it was trained: its base is loaded as it is stored, and "
            "rows are cut at {tokens} tokens.",
            tokens=OptimizationSpec().max_length,
        ),
    )


def _labels(
    folder: Path, config: AdapterConfig, base: BaseModel
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The classes in the order of the head's outputs, and what is to be said of their names."""
    outputs = _outputs(folder, config)
    listed = (read_provenance(folder) or {}).get("labels")
    if listed is not None:
        if not _are_names(listed) or len(listed) != outputs:
            raise EngineError(
                tr(
                    "provenance.json of {folder} lists labels that its head of {outputs} "
                    "outputs does not have.",
                    folder=folder,
                    outputs=f"{outputs:,}",
                ),
                tr("Copy the adapter again from where it was saved."),
            )
        return tuple(listed), ()
    known = config_of(base).get("id2label")
    names = list(known.values()) if isinstance(known, dict) else []
    if len(names) == outputs and _are_names(names):
        return tuple(names), (tr("The names of the classes are those of the base model."),)
    numbers = tuple(f"LABEL_{number}" for number in range(outputs))
    return numbers, (tr("The adapter does not name its classes, so they are numbered."),)


def _are_names(value: object) -> bool:
    return (
        isinstance(value, list)
        and all(isinstance(one, str) and 0 < len(one) <= MAX_LABEL_CHARACTERS for one in value)
        and len(set(value)) == len(value)
    )


def _outputs(folder: Path, config: AdapterConfig) -> int:
    """How many classes the head has: the rows of the last matrix of what was trained whole."""
    whole = [
        entry.shape[0]
        for key, entry in scan(folder / WEIGHTS_FILE).tensors.items()
        if key.endswith(".weight")
        and key.split(".")[-2] in LAST_LAYERS
        and len(entry.shape) == 2
        and config.is_saved_whole(key.removeprefix("base_model.model."))
    ]
    outputs = whole[-1] if whole else 0
    if not 2 <= outputs <= MAX_LABELS:
        raise EngineError(
            tr(
                "{folder} holds no classification head: what it trained whole has {outputs} "
                "outputs, and 2 to {max_labels} classes can be predicted.",
                folder=folder,
                outputs=outputs,
                max_labels=f"{MAX_LABELS:,}",
            ),
            tr("Save the adapter with its head (modules_to_save), or train it again."),
        )
    return outputs
