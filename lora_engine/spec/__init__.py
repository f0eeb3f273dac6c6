"""The spec of a run: every choice a person makes, checked as a whole, and the words for it.

    section        what every part has in common: strict checking, names of modules
    method         which weights train, and the adapter's rank, alpha and start
    quantization   how the frozen base is stored
    data           where the rows come from, and what their columns mean
    filters        which rows are left out
    objective      what a step makes likelier: answers, preferred answers, rewarded answers
    reward_rules   what an answer is rewarded for where the objective is grpo
    optimization   optimizer, schedule, batches, evaluation and saving
    extension      the finished run that a run goes on from
    report         sample answers and trackers
    run            RunSpec: all of these together
    parse          from JSON to a RunSpec, every problem reported with its path
    recipes        specs to start from, one for each bundled dataset
    sweep          SweepSpec: a run's spec and the fields in which a sweep's runs differ

Everything public is imported from here: `from lora_engine.spec import RunSpec`.
"""

from lora_engine.spec.data import (
    COLUMN_SETS,
    ColumnsSpec,
    DatasetFormat,
    DatasetSpec,
    MixturePart,
    Task,
    TemplateChoice,
)
from lora_engine.spec.extension import ExtensionSpec, added_steps
from lora_engine.spec.filters import FiltersSpec
from lora_engine.spec.method import (
    MAX_RANK,
    USED_BY,
    VIRTUAL_TOKEN_TYPES,
    WHOLE_MODEL_TYPES,
    BiasTraining,
    FinetuningType,
    LoraInit,
    MethodSpec,
    TargetModules,
)
from lora_engine.spec.objective import (
    OBJECTIVE_FIELDS,
    Advantage,
    DpoLoss,
    ObjectiveKind,
    ObjectiveSpec,
)
from lora_engine.spec.optimization import (
    MOST_DEVICES,
    OptimizationSpec,
    Optimizer,
    Precision,
    RowOrder,
    Schedule,
)
from lora_engine.spec.parse import (
    MAX_SPEC_BYTES,
    field_problems,
    json_document,
    parse_spec,
    read_spec,
    spec_from,
)
from lora_engine.spec.quantization import FourBitType, QuantizationBits, QuantizationSpec
from lora_engine.spec.recipes import (
    RECIPES,
    STARTER_LEARNING_RATE,
    recipe_spec,
    suited_learning_rate,
)
from lora_engine.spec.report import PromptText, ReportSpec, TrackerName
from lora_engine.spec.reward_rules import (
    FIELDS_OF_KIND,
    MAX_RULES,
    Comparison,
    LengthUnit,
    RewardRule,
    RuleKind,
)
from lora_engine.spec.run import RunSpec
from lora_engine.spec.section import MODULE_NAME, ModuleName, Section
from lora_engine.spec.sweep import (
    DEFAULT_RANKS,
    MAX_CHILDREN,
    METHOD,
    VARIABLE_PATHS,
    SweepAxis,
    SweepChild,
    SweepSpec,
    listed_values,
    parse_sweep,
    sweep_from,
    sweep_over,
    value_text,
)
from lora_engine.spec.ways import WAY_NAMES, WAYS, Way, method_of_way, way_of

__all__ = [
    "MOST_DEVICES",
    "COLUMN_SETS",
    "DEFAULT_RANKS",
    "FIELDS_OF_KIND",
    "MAX_CHILDREN",
    "MAX_RANK",
    "MAX_RULES",
    "MAX_SPEC_BYTES",
    "METHOD",
    "MODULE_NAME",
    "OBJECTIVE_FIELDS",
    "RECIPES",
    "STARTER_LEARNING_RATE",
    "USED_BY",
    "VARIABLE_PATHS",
    "VIRTUAL_TOKEN_TYPES",
    "WAYS",
    "WAY_NAMES",
    "WHOLE_MODEL_TYPES",
    "Advantage",
    "BiasTraining",
    "ColumnsSpec",
    "Comparison",
    "DatasetFormat",
    "DatasetSpec",
    "DpoLoss",
    "ExtensionSpec",
    "FiltersSpec",
    "FinetuningType",
    "FourBitType",
    "LengthUnit",
    "LoraInit",
    "MethodSpec",
    "MixturePart",
    "ModuleName",
    "ObjectiveKind",
    "ObjectiveSpec",
    "OptimizationSpec",
    "Optimizer",
    "Precision",
    "PromptText",
    "QuantizationBits",
    "QuantizationSpec",
    "ReportSpec",
    "RewardRule",
    "RowOrder",
    "RuleKind",
    "RunSpec",
    "Schedule",
    "Section",
    "SweepAxis",
    "SweepChild",
    "SweepSpec",
    "TargetModules",
    "Task",
    "TemplateChoice",
    "TrackerName",
    "Way",
    "added_steps",
    "field_problems",
    "json_document",
    "listed_values",
    "method_of_way",
    "parse_spec",
    "parse_sweep",
    "read_spec",
    "recipe_spec",
    "spec_from",
    "suited_learning_rate",
    "sweep_from",
    "sweep_over",
    "value_text",
    "way_of",
]
