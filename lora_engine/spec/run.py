"""The spec of a run: every choice a person makes, with its default, bound and help, once.

The spec knows nothing of files: whether a base model or a dataset is really there is a question
for the check before a run.
"""

from __future__ import annotations

from pydantic import Field

from lora_engine.spec.data import DatasetSpec, Task
from lora_engine.spec.extension import ExtensionSpec
from lora_engine.spec.method import MethodSpec
from lora_engine.spec.objective import ObjectiveSpec
from lora_engine.spec.optimization import OptimizationSpec
from lora_engine.spec.quantization import QuantizationSpec
from lora_engine.spec.report import ReportSpec
from lora_engine.spec.resources import LauncherName, ResourcesSpec
from lora_engine.spec.section import PrintableName, Section


class RunSpec(Section):
    """One training job, whole: the same spec, seed and machine give the same loss curve."""

    name: PrintableName = Field(
        "pirate r8",
        title="Name",
        description="What you call the run.",
        min_length=1,
        max_length=200,
    )
    base_model: str = Field(
        "starter",
        title="Base model",
        description="starter, a folder, a folder's name in LORA_MODELS_DIR, or a hub id.",
        min_length=1,
        max_length=1000,
    )
    task: Task = Field(
        "causal_lm",
        title="Task",
        description="causal_lm continues a text. The other two put a new head on an encoder: a "
        "class for each text, or one for each word.",
    )
    dataset: DatasetSpec = Field(default_factory=DatasetSpec)
    objective: ObjectiveSpec = Field(default_factory=ObjectiveSpec)
    method: MethodSpec = Field(default_factory=MethodSpec)
    quantization: QuantizationSpec | None = Field(
        None, title="Quantization", description="Empty keeps the base in 16 or 32 bit."
    )
    optimization: OptimizationSpec = Field(default_factory=OptimizationSpec)
    report: ReportSpec = Field(default_factory=ReportSpec)
    extended_from: ExtensionSpec | None = Field(
        None,
        title="Extended from",
        description="The finished run that this one goes on from, optimizer and all; `extend` "
        "writes it.",
    )
    launcher: LauncherName = Field(
        "local",
        title="Where it trains",
        description="local: this machine. ray, slurm: a job of the cluster that LORA_RAY_ADDRESS "
        "or LORA_SLURM_HOST names.",
    )
    resources: ResourcesSpec = Field(default_factory=ResourcesSpec)
    seed: int = Field(
        0,
        title="Seed",
        description="Fixes the split, the order of the rows and every random start.",
        ge=0,
        le=2**32 - 1,
    )
