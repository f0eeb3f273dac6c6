"""Badges under the columns: what was measured of them, and which adapters do not fit the base."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape

from lora_engine.compare.scoring import IntegrityProof
from lora_engine.language import tr
from pages.shared import layout


def proof_badge(proof: IntegrityProof, title: Callable[[str], str]) -> str:
    """What was measured on this prompt about which column is which."""
    good = proof.base_is_base and proof.adapters_differ and not proof.other_templates
    base = {"difference": layout.number(proof.base.max_difference)}
    parts = [
        tr("The base column is the bare base model: largest |Δ logit| {difference}", **base)
        if proof.base_is_base
        else tr(
            "The base column is NOT the bare base model: largest |Δ logit| {difference}", **base
        )
    ]
    for column in proof.adapters:
        values = {
            "name": title(column.column),
            "difference": layout.number(column.max_difference),
            "hash": str(column.adapter_sha256)[:8],
        }
        parts.append(
            tr("{name} differs: {difference} (adapter {hash})", **values)
            if column.max_difference > proof.tolerance
            else tr("{name} changes nothing: {difference} (adapter {hash})", **values)
        )
    fingerprint = proof.base_fingerprint[:8]
    parts.append(
        tr("base {base}, template {hash}", base=fingerprint, hash=proof.template_hash[:8])
        if proof.template_hash
        else tr("base {base}, no template", base=fingerprint)
    )
    parts += [
        tr(
            "{name} was trained with ANOTHER chat template: {hash}",
            name=title(column.column),
            hash=str(column.trained_template)[:8],
        )
        for column in proof.other_templates
    ]
    kind = "good" if good else "bad"
    return f'<p class="rs-badge rs-badge-{kind}" role="note">{escape(" · ".join(parts))}</p>'


def mismatch_badges(mismatches: Mapping[str, str]) -> str:
    """In red, what does not fit about each adapter, by its title."""
    return "".join(
        f'<p class="rs-badge rs-badge-bad" role="note">{escape(f"{title} {words}")}</p>'
        for title, words in mismatches.items()
    )
