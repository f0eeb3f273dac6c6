"""A count as text to take away: a CSV table and a LoraConfig to paste into a script."""

from __future__ import annotations

import csv
import io

from lora_engine.calculator.model_count import ModelCount

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def modules_csv(counted: ModelCount) -> str:
    """The adapted modules as CSV: name, in_features, out_features, rank, experts, parameters."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", "in_features", "out_features", "rank", "experts", "parameters"])
    for m in counted.modules:
        row = (m.name, m.in_features, m.out_features, m.rank, m.experts, m.parameters)
        writer.writerow([_inert(cell) for cell in row])
    for saved in counted.saved_modules:
        writer.writerow([_inert(saved.name), "", "", "", "", saved.parameters])
    return text.getvalue()


def lora_config_snippet(counted: ModelCount) -> str:
    """Python that makes the same adapter: a `LoraConfig` with the targets resolved."""
    choice = counted.choice
    targets = counted.resolved_targets
    lines = [
        f"r={choice.rank},",
        f"lora_alpha={choice.lora_alpha:g},",
        f"lora_dropout={choice.dropout:g},",
        f"target_modules={(targets if isinstance(targets, str) else list(targets))!r},",
    ]
    if choice.rank_pattern:
        lines.append(f"rank_pattern={dict(choice.rank_pattern)!r},")
        # Without its own alpha a module of another rank would be scaled differently.
        power = 0.5 if choice.use_rslora else 1
        alphas = {
            name: choice.lora_alpha * (rank / choice.rank) ** power
            for name, rank in choice.rank_pattern.items()
        }
        lines.append(f"alpha_pattern={alphas!r},")
    for option in ("use_dora", "use_rslora", "lora_bias"):
        if getattr(choice, option):
            lines.append(f"{option}=True,")
    if choice.modules_to_save:
        lines.append(f"modules_to_save={list(choice.modules_to_save)!r},")
    body = "\n".join(f"    {line}" for line in lines)
    return f"from peft import LoraConfig\n\nconfig = LoraConfig(\n{body}\n)\n"


def _inert(cell: object) -> object:
    """A cell that no spreadsheet runs as a formula."""
    is_formula = isinstance(cell, str) and cell.startswith(_FORMULA_STARTS)
    return f"'{cell}" if is_formula else cell
