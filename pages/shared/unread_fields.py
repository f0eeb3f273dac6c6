"""Fields that stand in a form and belong to another kind than the chosen one: left out of a spec.

Only the objective and its rules refuse them; a method ignores the sizes of other methods.
"""

from __future__ import annotations

from typing import Any

from lora_engine.spec import FIELDS_OF_KIND, OBJECTIVE_FIELDS


def without_unread(document: dict[str, Any]) -> dict[str, Any]:
    """A document without the fields that its objective, or a rule of it, does not read.

    The form keeps them, hidden, with the values that they had.
    """
    objective = document.get("objective")
    if not isinstance(objective, dict):
        return document
    read = OBJECTIVE_FIELDS.get(objective.get("kind", "sft"), tuple(objective))
    kept = {name: value for name, value in objective.items() if name in ("kind", *read)}
    if "rules" in kept:
        kept["rules"] = [_read_of_rule(rule) for rule in kept["rules"]]
    return {**document, "objective": kept}


def _read_of_rule(rule: dict[str, Any]) -> dict[str, Any]:
    read = FIELDS_OF_KIND.get(rule["kind"], tuple(rule))
    return {name: value for name, value in rule.items() if name in ("kind", "weight", *read)}
