"""The modules a model has, and the PEFT targets that a person's names and shortcuts mean in it.

A shortcut stands among the spec's `target_modules` as a name would, and is resolved here into the
names of a model: `attention`, `mlp`, `embeddings`, and the roles `q`, `k`, `v`, `o`.

PEFT matches a target against the end of a module's path. This module never hands it a pattern, and
never a name that matches nothing: PEFT would skip that one silently when another matches.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from lora_engine.base_models.adaptable import (
    computes_its_own,
    is_refused,
    left_out_of_all_linear,
    model_type_of,
)
from lora_engine.calculator.meta_model import embeddings_of
from lora_engine.calculator.repeated_layers import kind_of
from lora_engine.errors import FieldProblem, InvalidInput
from lora_engine.language import tr
from lora_engine.spec import MethodSpec

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ALL_LINEAR: Final = "all-linear"
ATTENTION = "attention"
MLP = "mlp"
EMBEDDINGS = "embeddings"
ROLES = ("q", "k", "v", "o")
SHORTCUTS = (ALL_LINEAR, ATTENTION, MLP, EMBEDDINGS, *ROLES)
TARGETS_PATH = "method.target_modules"
MAX_NAMES = 2_000  # each is held against every module of the model
FUSED_QKV = ("c_attn", "query_key_value", "qkv_proj", "Wqkv", "qkv", "in_proj_qkv")
ROLE_NAMES: Mapping[str, tuple[str, ...]] = {
    "q": ("q_proj", "query", "q_lin", "query_proj", "wq", "to_q", "q", *FUSED_QKV),
    "k": ("k_proj", "key", "k_lin", "key_proj", "wk", "to_k", "k", *FUSED_QKV),
    "v": ("v_proj", "value", "v_lin", "value_proj", "wv", "to_v", "v", *FUSED_QKV),
    "o": ("o_proj", "out_proj", "out_lin", "dense", "c_proj", "wo", "o"),
}


@dataclass(frozen=True)
class TargetableModule:
    """One module of a model that LoRA can adapt.

    path: its full name; type: linear, conv1d, embedding, conv or experts; experts: how many
    matrices it holds (1 unless its experts are fused); targets: the names PEFT must be given, more
    than one where PEFT asks for the names the projections had before they were fused.
    """

    path: str
    type: str
    in_features: int
    out_features: int
    experts: int
    targets: tuple[str, ...]

    @property
    def leaf(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def in_attention(self) -> bool:
        parents = self.path.lower().split(".")[:-1]
        return any("attn" in p or "attention" in p for p in parents)


@dataclass(frozen=True)
class AvailableModule:
    """One line of a tick-list: a kind of module and in how many layers it occurs.

    name: its place in a layer; targets: what to pass for exactly these modules (mostly the name
    alone); kind: linear, conv1d, embedding, conv or experts; part: attention, mlp or the kind;
    head: whether it is the output layer, which all-linear leaves out; chosen: whether the method
    asked about adapts it in some layer.
    """

    name: str
    targets: tuple[str, ...]
    kind: str
    in_features: int
    out_features: int
    layers: int
    part: str
    head: bool
    chosen: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def targetable_modules(model: PreTrainedModel) -> list[TargetableModule]:
    """Every module LoRA can adapt, in the model's order."""
    fused = _fused_experts(model)
    found = []
    for path, module in model.named_modules():
        found += fused.get(path) or _plain_module(path, module)
    return found


def group_modules(
    modules: list[TargetableModule],
    head_path: str | None,
    chosen: Sequence[TargetableModule] = (),
) -> tuple[AvailableModule, ...]:
    """The tick-list: `modules` grouped by kind, each under the shortest name that is its own."""
    groups: dict[tuple, list[TargetableModule]] = defaultdict(list)
    among = set(chosen)
    for module in modules:
        shape = (module.in_features, module.out_features)
        groups[(_ending(module), module.type, *shape)].append(module)
    return tuple(
        AvailableModule(
            name=_group_name(members[0], modules),
            targets=tuple(_names(members, modules)),
            kind=members[0].type,
            in_features=members[0].in_features,
            out_features=members[0].out_features,
            layers=len(members),
            part=ATTENTION if members[0].in_attention else _part(members[0]),
            head=members[0].path == head_path,
            chosen=any(member in among for member in members),
        )
        for members in groups.values()
    )


def head_path(model: PreTrainedModel) -> str | None:
    """The path of the output layer, which PEFT's all-linear leaves out; None without one."""
    _, head = embeddings_of(model)
    return next((path for path, m in model.named_modules() if m is head), None) if head else None


def target_names(method: MethodSpec) -> list[str]:
    """The targets as a list of names and shortcuts."""
    targets = method.target_modules
    return [targets] if isinstance(targets, str) else targets


def resolve_targets(
    model: PreTrainedModel, method: MethodSpec, text_only: bool = True
) -> Literal["all-linear"] | list[str]:
    """What to give PEFT as target_modules: "all-linear", or names that each match something.

    The one reading of targets: training, its preflight and the counts all take this. all-linear
    becomes names where it leaves out more than the head (`base_models.adaptable`). text_only: a run
    on rows of text; without it all-linear means what PEFT means by it.
    Raises InvalidInput naming each target that matches nothing or that PEFT refuses, with the names
    that would do.
    """
    targets = target_names(method)
    if targets == [ALL_LINEAR] and not paths_all_linear_leaves_out(model, text_only):
        return ALL_LINEAR
    if len(targets) > MAX_NAMES:
        found = tr(
            "lists {count} names, {most} are allowed",
            count=f"{len(targets):,}",
            most=f"{MAX_NAMES:,}",
        )
        raise InvalidInput(
            tr("The method"), [FieldProblem(TARGETS_PATH, found)], tr("Name fewer modules.")
        )
    modules = targetable_modules(model)
    resolved: dict[str, None] = {}
    problems = []
    for target in targets:
        names = _meaning(target, modules, model, text_only)
        resolved |= dict.fromkeys(names)
        if not names:
            problems.append(
                FieldProblem(TARGETS_PATH, tr("{target} matches no module", target=f"{target!r}"))
            )
        elif _refused(target, modules, model):
            kind = model_type_of(model)
            problems.append(
                FieldProblem(
                    TARGETS_PATH,
                    tr("PEFT cannot adapt {target} in a {kind}", target=f"{target!r}", kind=kind),
                )
            )
    if problems:
        raise InvalidInput(tr("The method"), problems, _what_would_match(modules, model))
    return list(resolved)


def targeted_modules(
    model: PreTrainedModel, method: MethodSpec, text_only: bool = True
) -> list[TargetableModule]:
    """The modules that the targets of `method` mean. Raises as `resolve_targets` does."""
    modules = targetable_modules(model)
    found = resolve_targets(model, method, text_only)
    names = _meaning(ALL_LINEAR, modules, model, text_only) if found == ALL_LINEAR else found
    return [m for m in modules if any(_matches(m, name) for name in names)]


def paths_all_linear_leaves_out(model: PreTrainedModel, text_only: bool = True) -> list[str]:
    """The modules, besides the head, that all-linear does not adapt in this model."""
    paths = [m.path for m in targetable_modules(model) if m.type in ("linear", "conv1d")]
    return left_out_of_all_linear(model, paths, text_only)


def _refused(target: str, modules: list[TargetableModule], model: PreTrainedModel) -> bool:
    return any(_matches(m, target) and _takes_no_adapter(model, m) for m in modules)


def _takes_no_adapter(model: PreTrainedModel, module: TargetableModule) -> bool:
    return is_refused(model, module.path) or computes_its_own(model, module.path)


def _meaning(
    target: str, modules: list[TargetableModule], model: PreTrainedModel, text_only: bool
) -> list[str]:
    """The names one target stands for; [] if it matches nothing LoRA can adapt."""
    if any(_matches(module, target) for module in modules):
        return [target]
    head = head_path(model)
    kinds = ("linear", "conv1d", "experts")
    inner = [
        m for m in modules if m.path != head and m.type in kinds and not is_refused(model, m.path)
    ]
    if target == ALL_LINEAR:
        left_out = set(left_out_of_all_linear(model, [m.path for m in inner], text_only))
        chosen = [m for m in inner if m.path not in left_out]
    elif target == ATTENTION:
        chosen = [m for m in inner if m.in_attention]
    elif target == MLP:
        chosen = [m for m in inner if not m.in_attention and _part(m) == MLP]
    elif target in ROLES:
        chosen = [m for m in inner if m.in_attention and m.leaf in ROLE_NAMES[target]]
    elif target == EMBEDDINGS:
        embedding, _ = embeddings_of(model)
        paths = [path for path, module in model.named_modules() if module is embedding]
        chosen = [m for m in modules if m.path in paths]
    else:
        chosen = []
    return _names(chosen, modules)


def _matches(module: TargetableModule, target: str) -> bool:
    """PEFT's rule: a target is a whole path, or ends one after a dot."""
    if module.type == "experts":
        return target.rpartition(".")[2] in module.targets
    return module.path == target or module.path.endswith(f".{target}")


def _names(chosen: list[TargetableModule], modules: list[TargetableModule]) -> list[str]:
    """The shortest names that match every one of `chosen` and no other of `modules`."""
    paths = {module.path for module in chosen}
    names: dict[str, None] = {}
    for module in chosen:
        if module.type == "experts":
            names |= dict.fromkeys(module.targets)
            continue
        for name in (module.leaf, _ending(module), module.path):
            if name in names or all(m.path in paths for m in modules if _matches(m, name)):
                names[name] = None
                break
    return list(names)


def _what_would_match(modules: list[TargetableModule], model: PreTrainedModel) -> str:
    taken = [m for m in modules if not _takes_no_adapter(model, m)]
    names = [group.name for group in group_modules(taken, head_path(model))]
    listed = ", ".join(dict.fromkeys(names[:40]))
    return tr(
        "This model has: {listed}; or use all-linear, attention, mlp, embeddings, q, k, v, o.",
        listed=listed,
    )


def _part(module: TargetableModule) -> str:
    """Where a module outside attention belongs: mlp inside a numbered layer, else its own type."""
    inside = "*" in kind_of(module.path).split(".")
    return MLP if inside and module.type != "embedding" else module.type


def _ending(module: TargetableModule) -> str:
    """The path inside the innermost numbered layer; the whole path outside of one."""
    return kind_of(module.path).rpartition("*.")[2]


def _group_name(first: TargetableModule, modules: list[TargetableModule]) -> str:
    """The leaf if it belongs to this ending alone, else the ending."""
    if first.type == "experts":
        return ",".join(first.targets)
    endings = {_ending(m) for m in modules if m.leaf == first.leaf}
    return first.leaf if len(endings) == 1 else _ending(first)


def _plain_module(path: str, module: Any) -> list[TargetableModule]:
    """`module` as one targetable module, or [] if PEFT's LoRA has no layer for it."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    leaf = (path.rpartition(".")[2],)
    if isinstance(module, nn.Linear):
        sizes = ("linear", module.in_features, module.out_features)
    elif isinstance(module, Conv1D):  # weight (in_features, out_features)
        sizes = ("conv1d", module.weight.shape[0], module.weight.shape[1])
    elif isinstance(module, nn.Embedding):
        sizes = ("embedding", module.num_embeddings, module.embedding_dim)
    elif isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        sizes = ("conv", module.in_channels, module.out_channels)
    else:
        return []
    return [TargetableModule(path, *sizes, experts=1, targets=leaf)]


def _fused_experts(model: PreTrainedModel) -> dict[str, list[TargetableModule]]:
    """Path -> the parameters in it that PEFT adapts under the names of unfused projections.

    transformers 5 keeps a mixture's experts in one parameter (experts, out, in); PEFT's own table
    maps the names the projections had before (Mixtral's w1, w3 -> gate_up_proj).
    """
    from peft.utils import transformers_weight_conversion as conversion

    pattern = conversion._MODEL_TO_CONVERSION_PATTERN.get(model.config.model_type)
    mapping = conversion._MOE_TARGET_MODULE_MAPPING.get(pattern or "", {})
    old_names: dict[str, list[str]] = defaultdict(list)
    for old, new in mapping.items():
        old_names[new].append(old)
    found: dict[str, list[TargetableModule]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        path, _, leaf = name.rpartition(".")
        for new, olds in old_names.items():
            fits_router = new.endswith(".weight") and name.endswith(f".{new}")
            if fits_router and parameter.ndim == 2:
                out_features, in_features = parameter.shape
                found[path].append(
                    TargetableModule(path, "experts", in_features, out_features, 1, tuple(olds))
                )
            elif leaf == new and parameter.ndim == 3:
                experts, out_features, in_features = parameter.shape
                sizes = ("experts", in_features, out_features, experts)
                found[path].append(TargetableModule(name, *sizes, tuple(olds)))
    return found
