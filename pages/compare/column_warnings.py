"""Badges under the columns: what was measured of them, and which adapters do not fit the base."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape

from lora_engine.compare.scoring import IntegrityProof
from pages.shared import layout


def proof_badge(proof: IntegrityProof, title: Callable[[str], str]) -> str:
    """What was measured on this prompt about which column is which."""
    good = proof.base_is_base and proof.adapters_differ and not proof.other_templates
    words = (
        "The base column is the bare base model"
        if proof.base_is_base
        else "The base column is NOT the bare base model"
    )
    parts = [f"{words}: largest |Δ logit| {layout.number(proof.base.max_difference)}"]
    for column in proof.adapters:
        differs = column.max_difference > proof.tolerance
        parts.append(
            f"{escape(title(column.column))} {'differs' if differs else 'changes nothing'}: "
            f"{layout.number(column.max_difference)} (adapter {str(column.adapter_sha256)[:8]})"
        )
    template = f"template {proof.template_hash[:8]}" if proof.template_hash else "no template"
    parts.append(f"base {proof.base_fingerprint[:8]}, {template}")
    parts += [
        f"{escape(title(column.column))} was trained with ANOTHER chat template: "
        f"{escape(str(column.trained_template)[:8])}"
        for column in proof.other_templates
    ]
    kind = "good" if good else "bad"
    return f'<p class="rs-badge rs-badge-{kind}" role="note">{" · ".join(parts)}</p>'


def mismatch_badges(mismatches: Mapping[str, str]) -> str:
    """In red, what does not fit about each adapter, by its title."""
    return "".join(
        f'<p class="rs-badge rs-badge-bad" role="note">{escape(f"{title} {words}")}</p>'
        for title, words in mismatches.items()
    )
