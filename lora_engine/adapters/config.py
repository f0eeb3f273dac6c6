"""adapter_config.json, read as untrusted input: what an adapter's factors mean.

Reads LoRA only (with rsLoRA, DoRA, rank and alpha patterns, fused experts, modules trained whole);
every number is bounded, and a pattern of target modules is never run, because the weights name
their modules. What the file names (a base model, a class, a path) is text to show; nothing opens
or imports it. Of the other files in the folder this module knows the names only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from lora_engine.adapters.name_patterns import (
    PatternKeys,
    as_peft_key,
    check_pattern_key,
    check_target_pattern,
)
from lora_engine.adapters.other_forms import (
    folder_without,
    method_remedy,
    method_words,
    refuse_other_tool,
)
from lora_engine.errors import EngineError, FieldProblem, InvalidInput, Unreadable
from lora_engine.foreign_folder import refuse_foreign_files
from lora_engine.language import tr, translatable
from lora_engine.library_imports import import_peft
from lora_engine.weights.safetensors_file import parse_json
from lora_engine.weights.stored_matrix import read_exactly

PROVENANCE_VERSION = 1  # of provenance.json; one without a version is of version 1
CLASSIFIERS = ("SEQ_CLS", "TOKEN_CLS")  # PEFT's task types
CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
MAX_CONFIG_BYTES = 1_000_000
MAX_NAMES = 20_000
MAX_SAVED_NAMES = 1_000
MAX_RANK = 65_536
REMEDY = translatable(
    "Correct this in adapter_config.json, or copy the adapter again from where it was saved."
)
MERGE = translatable(
    "Merge it into its base with PEFT (merge_and_unload), save the result, and give that folder as "
    "a model: spectrum --base DIR --tuned DIR, or compare --base DIR."
)

_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,300}")


def _check_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(tr("a module's name has 1 to 300 letters, digits, _, . and -, no pattern"))
    return text


PlainName = Annotated[str, AfterValidator(_check_name)]
Names = Annotated[list[PlainName], Field(max_length=MAX_NAMES)]
Pattern = Annotated[str, AfterValidator(check_target_pattern)]
Rank = Annotated[int, Field(ge=1, le=MAX_RANK)]
Alpha = Annotated[float, Field(gt=0.0, le=1e6)]
LayerNumber = Annotated[int, Field(ge=0, le=100_000)]
PatternKey = Annotated[str, AfterValidator(check_pattern_key)]
PATTERNS = ("rank_pattern", "alpha_pattern")

OTHER_FORMS = (
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "monteclora_config",
    "use_bdlora",
    "use_qalora",
)
"""Fields of PEFT's LoraConfig under which the factors are not one B A for each module."""

TIED = frozenset(("embed_in", "embed_out", "embed_tokens", "lm_head", "word_embeddings", "wte"))
"""What embedding and head are called. With ensure_weight_tying PEFT adapts both where one is named
and they are one weight, and saves both."""

NOT_APPLIED = (
    "alora_invocation_tokens",
    "megatron_config",
    "trainable_token_indices",
)
"""Fields that leave the factors as they are and change how a model uses them."""

BASE_CHANGING_INITS = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Initializations that rewrite the base weight while PEFT injects the adapter."""


class AdapterConfig(BaseModel):
    """What an adapter's configuration says, bounded. Field names are PEFT's, as in the file."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, allow_inf_nan=False)

    peft_type: Literal["LORA"]
    task_type: str | None = Field(None, max_length=100)
    r: Rank
    lora_alpha: Alpha
    target_modules: Pattern | Names | None = None
    target_parameters: Names | None = None
    use_rslora: bool = False
    use_dora: bool = False
    lora_bias: bool = False
    fan_in_fan_out: bool = False
    bias: Literal["none", "all", "lora_only"] = "none"
    init_lora_weights: bool | Annotated[str, Field(max_length=100)] | None = True
    rank_pattern: Annotated[dict[PatternKey, Rank], Field(max_length=MAX_NAMES)] | None = None
    alpha_pattern: Annotated[dict[PatternKey, Alpha], Field(max_length=MAX_NAMES)] | None = None
    modules_to_save: Annotated[list[PlainName], Field(max_length=MAX_SAVED_NAMES)] | None = None
    ensure_weight_tying: bool = False
    exclude_modules: Pattern | Names | None = None
    layers_to_transform: (
        LayerNumber | Annotated[list[LayerNumber], Field(max_length=MAX_NAMES)] | None
    ) = None
    layers_pattern: PlainName | Names | None = None
    base_model_name_or_path: str | None = Field(None, max_length=4096)

    @property
    def initialization(self) -> str:
        """How the factors were initialized, in small letters."""
        return str(self.init_lora_weights).lower()

    def rank_of(self, module: str) -> int:
        """The rank PEFT gives a module: its own from rank_pattern, else `r`."""
        return self.ranks_of([module])[module]

    def scaling_of(self, module: str) -> float:
        """alpha / rank, or alpha / √rank with rsLoRA; both the module's own."""
        return self.scalings_of([module])[module]

    def ranks_of(self, modules: Iterable[str]) -> dict[str, int]:
        """`rank_of` each. Raises EngineError for a pattern that takes too long to match."""
        pattern = self.rank_pattern or {}
        keys = PatternKeys(list(pattern)).keys_of(modules)
        return {name: self.r if key is None else pattern[key] for name, key in keys.items()}

    def scalings_of(self, modules: Iterable[str]) -> dict[str, float]:
        """`scaling_of` each. Raises EngineError as `ranks_of` does."""
        ranks, pattern = self.ranks_of(modules), self.alpha_pattern or {}
        keys = PatternKeys(list(pattern)).keys_of(ranks)
        power = 0.5 if self.use_rslora else 1.0
        return {
            name: (self.lora_alpha if key is None else pattern[key]) / ranks[name] ** power
            for name, key in keys.items()
        }

    def listed_targets(self, may_be_excluded: Sequence[str] = ()) -> list[str] | None:
        """The names in target_modules, where they alone choose the modules; else None.

        may_be_excluded: names that exclude_modules may hold all the same.
        """
        excluded = self.exclude_modules or []
        free = isinstance(excluded, list) and set(excluded) <= set(may_be_excluded)
        limited = self.layers_to_transform is not None or not free
        listed = isinstance(self.target_modules, list) and self.target_modules
        return list(self.target_modules or []) if listed and not limited else None

    def is_saved_whole(self, tensor: str) -> bool:
        """Whether a tensor is part of a module in modules_to_save.

        PEFT's rule: a module whose name ends with an entry, so `norm` takes `input_layernorm` too.
        """
        pieces = tensor.split(".")
        endings = tuple(self.modules_to_save or ())
        named = {ending.rpartition(".")[2] for ending in endings}
        if self.ensure_weight_tying and TIED & named:
            endings = (*endings, *TIED)
        return any(".".join(pieces[:end]).endswith(endings) for end in range(1, len(pieces)))

    def switched_on(self, names: tuple[str, ...]) -> list[str]:
        """Those of the fields named that the file sets and this class does not declare."""
        return [name for name in names if (self.model_extra or {}).get(name)]

    def to_peft(self, modules: Sequence[str], parameters: Sequence[str] = ()):
        """PEFT's LoraConfig for inference, made from the checked fields and nothing else.

        modules: those that the weights hold factors of, which stand for a pattern of targets or of
        exclusions. parameters: the full names of the adapted parameters (fused experts).
        """
        import_peft()
        from peft import LoraConfig

        apart = {"peft_type", "task_type", "base_model_name_or_path", "init_lora_weights", "bias"}
        fields = self.model_dump(include=set(type(self).model_fields) - apart)
        by_name = isinstance(self.target_modules, list) and not isinstance(
            self.exclude_modules, str
        )
        if not by_name:
            fields |= dict.fromkeys(("exclude_modules", "layers_to_transform", "layers_pattern"))
            fields["target_modules"] = list(modules)
        for name in PATTERNS:
            fields[name] = _for_peft(getattr(self, name) or {}, [*modules, *parameters])
        return LoraConfig(**fields, lora_dropout=0.0, task_type="CAUSAL_LM", inference_mode=True)


def _for_peft(pattern: Mapping[str, Any], modules: Sequence[str]) -> dict[str, Any]:
    """The pattern with keys that PEFT can run safely, and each module's value unchanged."""
    of_key: dict[str | None, list[str]] = {}
    for module, key in PatternKeys(list(pattern)).keys_of(modules).items():
        of_key.setdefault(key, []).append(module)
    return {as_peft_key(key, of_key[key]): pattern[key] for key in pattern if key in of_key}


def read_adapter_config(folder: Path) -> AdapterConfig:
    """The checked configuration of the adapter in `folder`.

    Raises NotFound where there is none; InvalidInput listing every field that is wrong or out of
    bounds, another method than LoRA among them; EngineError for forms of LoRA whose factors mean
    something else.
    """
    path, document = folder / CONFIG_FILE, read_config_document(folder)
    try:
        config = AdapterConfig.model_validate(document)
    except ValidationError as error:
        other = document.get("peft_type") not in (None, "LORA")
        remedy = method_remedy(document["peft_type"]) if other else tr(REMEDY)
        problems = config_problems(error)
        if method_words(document.get("peft_type")):  # its other fields are that method's own
            problems = [problem for problem in problems if problem.path == "peft_type"]
        raise InvalidInput(str(path), problems, remedy) from None
    if forms := config.switched_on(OTHER_FORMS):
        raise EngineError(
            tr(
                "{path} uses {forms}: its factors are not one product B A for each module.",
                path=path,
                forms=", ".join(forms),
            ),
            tr(MERGE),
        )
    return config


def read_config_document(folder: Path) -> dict[str, Any]:
    """The JSON object in an adapter's configuration, bounded in size and not yet checked.

    Raises NotFound where there is none; EngineError for another tool's, and as
    `refuse_foreign_files` does.
    """
    path = folder / CONFIG_FILE
    if folder.is_dir():
        refuse_foreign_files(folder)
    if not path.is_file():
        raise folder_without(CONFIG_FILE, folder)
    document = _read_json_object(path)
    refuse_other_tool(path, document)
    return document


def read_applicable_config(folder: Path) -> AdapterConfig:
    """As `read_adapter_config`, for an adapter to be applied to a base model that others share.

    Raises EngineError too where that would change the base, or where the adapter needs more of
    PEFT than its factors.
    """
    path, config = folder / CONFIG_FILE, read_adapter_config(folder)
    if used := config.switched_on(NOT_APPLIED):
        acts = "alora_invocation_tokens" in used
        raise EngineError(
            tr(
                "{path} uses {used}, which Rankscope cannot apply.", path=path, used=", ".join(used)
            ),
            tr("Answer with PEFT's own generate; Spectrum shows its factors here.")
            if acts
            else MERGE,
        )
    if config.initialization.startswith(BASE_CHANGING_INITS):
        raise EngineError(
            tr(
                "{path} was initialized with {initialization}, which changes the base "
                "weights, so it does not belong to the unchanged base.",
                path=path,
                initialization=f"{config.initialization!r}",
            ),
            tr(
                "Give the base that LoftQ saved with it, after merging the adapter into it "
                "with PEFT."
            )
            if config.initialization.startswith("loftq")
            else tr(
                "Save it with path_initial_model_for_weight_conversion, which makes it plain LoRA."
            ),
        )
    return config


def read_provenance(folder: Path) -> dict[str, Any] | None:
    """provenance.json of a trained adapter, or None where there is none.

    Raises EngineError where the file is no JSON object, Unreadable for a later version.
    """
    path = folder / "provenance.json"
    if not path.is_file():
        return None
    document = _read_json_object(path)
    version = document.get("version", 1)
    if not isinstance(version, int) or version > PROVENANCE_VERSION:
        raise Unreadable(
            tr(
                "{path} has version {version}; this Rankscope knows versions up to "
                "{provenance_version}.",
                path=path,
                version=str(version)[:20],
                provenance_version=PROVENANCE_VERSION,
            ),
            tr("Use the Rankscope that trained the adapter, or a later one."),
        )
    return document


def _read_json_object(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    if size > MAX_CONFIG_BYTES:
        raise EngineError(
            tr(
                "{path} has {size} bytes; at most {max_config_bytes} are allowed.",
                path=path,
                size=f"{size:,}",
                max_config_bytes=f"{MAX_CONFIG_BYTES:,}",
            ),
            tr(REMEDY),
        )
    document = parse_json(path, read_exactly(path, 0, size))
    if not isinstance(document, dict):
        raise EngineError(
            tr("{path} is no JSON object but {name__}.", path=path, name__=type(document).__name__),
            tr(REMEDY),
        )
    return document


def config_problems(error: ValidationError) -> list[FieldProblem]:
    """What pydantic found: one problem a field, and one a key of a pattern.

    Of several, the one found deepest in the value.
    """
    found: dict[str, tuple[int, FieldProblem]] = {}
    for item in error.errors():
        where = [str(part) for part in item["loc"]] or ["peft_type"]
        path = ".".join(where[: 2 if where[0] in PATTERNS else 1])
        received = repr(item["input"])
        received = received if len(received) <= 80 else received[:77] + "..."
        message = tr(
            "{problem}, got {received}",
            problem=item["msg"].removeprefix("Value error, "),
            received=received,
        )
        if path == "peft_type":
            message += method_words(item["input"])
        if path not in found or len(where) > found[path][0]:
            found[path] = len(where), FieldProblem(path, message)
    return [problem for _, problem in found.values()]
