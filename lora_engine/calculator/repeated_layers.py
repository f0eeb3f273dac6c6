"""Layers of equal shape, counted once: what makes a 70B model take milliseconds.

Transformers are stacks of layers that differ in their weights only. Two layers of a stack are
twins when every module and parameter in them has the same name, class and shape. PEFT decides by
names and classes, so it treats twins alike as long as no name given to it tells them apart by
number; then it is enough to let it work on the first twin and to copy the counts to the others.
A stack whose parameters are shared with anything else is left whole.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

_NUMBER = re.compile(r"(?:^|\.)\d+(?=\.|$)")


def kind_of(name: str) -> str:
    """`name` with its layer numbers starred: model.layers.*.self_attn.q_proj."""
    return re.sub(r"(^|\.)\d+(?=\.|$)", r"\1*", name)


def tells_layers_apart(names: Iterable[str]) -> bool:
    """Whether a name holds a layer number, so that twins may be treated differently."""
    return any(_NUMBER.search(name) for name in names)


def find_twins(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """First layer's path -> paths of the later layers that are its twins, over all stacks.

    Only outermost stacks (ModuleLists) are looked at; a layer without twins maps to ().
    """
    from torch import nn

    owners = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    twins: dict[str, tuple[str, ...]] = {}
    inside: list[str] = []
    for path, stack in model.named_modules():
        if not isinstance(stack, nn.ModuleList) or path.startswith(tuple(inside)):
            continue
        inside.append(f"{path}.")
        if any(owners[id(p)] > 1 for p in stack.parameters()):
            continue
        groups: dict[tuple, list[str]] = defaultdict(list)
        for index, layer in enumerate(stack):
            groups[_signature(layer)].append(f"{path}.{index}")
        twins |= {first: tuple(rest) for first, *rest in groups.values()}
    return twins


def keep_one_of_each(model: nn.Module, twins: Mapping[str, tuple[str, ...]]) -> None:
    """Empty every layer of `model` that has an earlier twin, in place, keeping the numbering."""
    from torch import nn

    for duplicates in twins.values():
        for path in duplicates:
            stack, _, index = path.rpartition(".")
            layers = model.get_submodule(stack)
            assert isinstance(layers, nn.ModuleList), stack
            layers[int(index)] = nn.Identity()


def names_of_all_twins(name: str, twins: Mapping[str, tuple[str, ...]]) -> list[str]:
    """`name` in its own layer, then in every twin of that layer."""
    for first, duplicates in twins.items():
        if name.startswith(f"{first}."):
            return [name, *(path + name[len(first) :] for path in duplicates)]
    return [name]


def natural_order(name: str) -> list[tuple[int, int, str]]:
    """A sort key that puts layer 2 before layer 10."""
    return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in name.split(".")]


def _signature(layer: nn.Module) -> tuple:
    """Everything PEFT can look at in a layer besides its number."""
    modules = tuple((name, type(module)) for name, module in layer.named_modules())
    parameters = tuple((name, tuple(p.shape)) for name, p in layer.named_parameters())
    return modules, parameters
