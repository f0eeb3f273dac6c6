"""One adapter in words and numbers, as HTML; everything is escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from lora_engine.adapters import (
    KIND_NAMES,
    AdapterConfig,
    AdapterDetails,
    AdapterSummary,
    Check,
    OtherConfig,
)
from lora_engine.language import tr, translatable
from pages import COMPARE, RUNS, SPECTRUM, TRAIN
from pages.adapters.writing import rank_span
from pages.shared import layout
from pages.shared.adapter_choices import adapter_key

CHECK_WORDS = {
    "whole": {
        True: translatable("Whole."),
        False: translatable("Not whole."),
        None: translatable("Whole?"),
    },
    "finite": {
        True: translatable("Finite."),
        False: translatable("Not finite."),
        None: translatable("Finite?"),
    },
    "right base": {
        True: translatable("On the right base."),
        False: translatable("On another base."),
        None: translatable("Right base?"),
    },
}
MARKS = {True: ("✓", "rs-ok"), False: ("✗", "rs-bad"), None: ("?", "rs-unknown")}
STARTS = {
    "true": translatable("default: B is zero"),
    "none": translatable("default: B is zero"),
    "false": translatable("random A and B"),
}
KINDS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}

MADE_BY = {
    "resize": translatable("resized from {names}"),
    "combine": translatable("combined from {names}"),
    "extract": translatable("extracted from {names}"),
    "merge": translatable("merged from {names}"),
    "portable": translatable("made portable from {names}"),
}


def heading(found: AdapterDetails, zip_address: str, has_run: bool) -> str:
    """The name, what the person wrote, and where to go next; to its run where that is here."""
    summary = found.summary
    key = adapter_key(summary)
    tags = "".join(f'<span class="rs-tag">{escape(tag)}</span>' for tag in summary.tags)
    note = f'<p class="rs-adapter-note">{escape(summary.note)}</p>' if summary.note else ""
    links = [(tr("Compare"), layout.link(COMPARE, adapter=key))]
    if summary.kind == "lora":
        links.append((tr("Spectrum"), layout.link(SPECTRUM, adapter=key)))
        links.append((tr("Go on from it"), layout.link(TRAIN, init_from=key)))
    if summary.run_id and has_run:
        links.append((tr("Its run"), layout.link(RUNS, run=summary.run_id)))
    links.append((tr("Download zip"), zip_address))
    buttons = "".join(
        f'<a class="rs-button rs-small" href="{escape(href)}">{escape(text)}</a>'
        for text, href in links
    )
    label = escape(tr("What to do with it"))
    return (
        f"<h2>{escape(summary.name)} {tags}</h2>{note}"
        f'<nav class="rs-adapter-links" aria-label="{label}">{buttons}</nav>'
    )


def tiles(found: AdapterDetails) -> str:
    summary = found.summary
    shown = [
        *_form_tiles(found),
        (
            tr("Parameters"),
            layout.short_count(found.parameters),
            tr("{places}, {numbers}", places=_places(found), numbers=_kinds(found)),
        ),
        (tr("Size"), layout.byte_size(summary.bytes), tr("of its weights file")),
    ]
    if summary.eval_loss is not None:
        shown.append(
            (
                tr("Evaluation loss"),
                layout.number(summary.eval_loss),
                tr("nats a token, by its run"),
            )
        )
    return layout.tiles_html(shown)


def sizes(found: AdapterDetails) -> str:
    """The full model against the adapter, drawn to scale."""
    base, own = found.base_bytes, found.summary.bytes
    if base is None:
        words = tr(
            "The weights of {base} are not on this machine, so their size is not known here.",
            base=found.summary.base_model or tr("its base"),
        )
        return f'<p class="rs-adapter-words">{escape(words)}</p>'
    most = max(base, own)
    bars = _bar(tr("Full model"), base, most, False) + _bar(tr("This adapter"), own, most, True)
    words = ""
    if base > own > 0:
        words = tr(
            "The adapter has {ratio} times fewer bytes than the model.",
            ratio=layout.number(base / own),
        )
    return f'{bars}<p class="rs-adapter-words">{escape(words)}</p>'


def checks(found: Sequence[Check]) -> str:
    """Whole, finite, on the right base: a mark, a word, and the reason."""
    rows = []
    for check in found:
        mark, name = MARKS[check.ok]
        word = tr(CHECK_WORDS[check.name][check.ok])
        rows.append(
            f'<li class="{name}"><span aria-hidden="true">{mark}</span> '
            f"<strong>{escape(word)}</strong> {escape(check.words)}</li>"
        )
    return f'<ul class="rs-checks" aria-label="{escape(tr("Checks"))}">{"".join(rows)}</ul>'


def facts(found: AdapterDetails) -> str:
    """Where it comes from, as names and values."""
    summary, config = found.summary, found.config
    shown = [
        (tr("Base model"), summary.base_model),
        (tr("Base fingerprint"), summary.base_fingerprint),
        (tr("Targets"), summary.targets),
        (tr("Saved whole"), ", ".join(found.whole_tensors[:5]) or None),
        (tr("Start"), _start(config.initialization) if isinstance(config, AdapterConfig) else None),
        (tr("Trained on"), summary.dataset),
        (tr("Hash of the rows"), found.data_hash and found.data_hash[:16]),
        (tr("Chat template"), found.template and tr(found.template)),
        (tr("Hash of the template"), found.template_hash and found.template_hash[:16]),
        (tr("Evaluation"), _evaluation(found)),
        (tr("Run"), summary.run_id),
        (tr("Made by"), _operation(found)),
        (tr("Made"), _made(summary)),
        (tr("Folder"), str(summary.path)),
    ]
    cells = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in shown
        if value
    )
    return f'<dl class="rs-adapter-facts">{cells}</dl>'


def _bar(name: str, value: int, most: int, accent: bool) -> str:
    text = layout.byte_size(value)
    share = 100 * value / most if most else 0
    return (
        f'<div class="rs-bar{" rs-bar-accent" if accent else ""}"><span>{name}</span>'
        f'<div class="rs-track" role="meter" aria-label="{name}" aria-valuemin="0" '
        f'aria-valuemax="{most}" aria-valuenow="{value}" aria-valuetext="{text}">'
        f'<div style="width:max(2px, {share:.4f}%)"></div></div><b>{text}</b></div>'
    )


def _form_tiles(found: AdapterDetails) -> list[tuple[str, str, str]]:
    """Rank and scaling of LoRA; of another method, its name and its size."""
    config = found.config
    if isinstance(config, AdapterConfig):
        return [
            (tr("Rank"), _ranks(found, config), f"α {config.lora_alpha:g}, {_form(config)}"),
            (tr("Scaling"), _span(found.scalings), _scaling_words(found, config)),
        ]
    return [(tr("Method"), tr(KIND_NAMES[config.kind]), _size(config))]


def _size(config: OtherConfig) -> str:
    if config.virtual_tokens:
        return tr("{count} virtual tokens", count=layout.count(config.virtual_tokens))
    if config.kind == "bottleneck":
        return tr("inner width {width}", width=layout.count(config.bottleneck_size or 0))
    if config.r:
        return tr("rank {rank}", rank=layout.count(config.r))
    return tr("one factor a row or column")


def _places(found: AdapterDetails) -> str:
    if not found.parts:
        return tr("in {count} modules", count=layout.count(len(found.modules)))
    if not isinstance(found.config, AdapterConfig) and found.config.virtual_tokens:
        return tr("in {count} virtual tokens", count=layout.count(found.config.virtual_tokens))
    return tr("in {count} modules", count=layout.count(len(found.parts)))


def _start(initialization: str) -> str:
    return tr(STARTS.get(initialization, initialization))


def _ranks(found: AdapterDetails, config: AdapterConfig) -> str:
    ranks = sorted({one.rank for one in found.modules}) or [config.r]
    return rank_span(ranks[0], ranks[-1])


def _span(values: Sequence[float]) -> str:
    if not values:
        return "–"
    if len(values) == 1:
        return layout.number(values[0])
    return tr("{low} to {high}", low=layout.number(values[0]), high=layout.number(values[-1]))


def _scaling_words(found: AdapterDetails, config: AdapterConfig) -> str:
    formula = "α/√r (rsLoRA)" if config.use_rslora else "α/r"
    if len(found.scalings) > 1:
        return tr("{formula} of each module's own", formula=formula)
    return formula


def _form(config: AdapterConfig) -> str:
    forms = [
        *(["rsLoRA"] if config.use_rslora else []),
        *(["DoRA"] if config.use_dora else []),
        *([tr("biases")] if config.lora_bias else []),
    ]
    return tr("LoRA with {forms}", forms=", ".join(forms)) if forms else "LoRA"


def _kinds(found: AdapterDetails) -> str:
    return ", ".join(KINDS.get(kind, kind) for kind in found.dtypes) or tr("unread")


def _evaluation(found: AdapterDetails) -> str | None:
    result = found.evaluation
    said = [
        f"{words} {layout.number(result[key])}"
        for key, words in (
            ("eval_loss", tr("evaluation loss")),
            ("train_loss", tr("training loss")),
            ("eval_accuracy", tr("accuracy")),
            ("eval_f1", "F1"),
        )
        if isinstance(result.get(key), int | float)
    ]
    steps = result.get("steps")
    if isinstance(steps, int):
        said.append(tr("{count} steps", count=f"{steps:,}"))
    return ", ".join(said) or None


def _made(summary: AdapterSummary) -> str:
    """When, in UTC; a bundled one's files are as old as the installation."""
    if summary.bundled:
        return tr("comes with Rankscope")
    return tr("{time} UTC", time=summary.created_at[:16].replace("T", " "))


def _operation(found: AdapterDetails) -> str | None:
    kind = found.operation.get("kind")
    if not isinstance(kind, str):
        return None
    sources = found.operation.get("sources")
    names = [
        str(one.get("name"))[:100]
        for one in (sources if isinstance(sources, list) else [])
        if isinstance(one, dict) and one.get("name")
    ]
    error = found.operation.get("error")
    sentence = MADE_BY.get(kind, translatable("{kind} of {names}"))
    what = tr(sentence, kind=kind[:40], names=", ".join(names[:8]) or tr("others"))
    if not isinstance(error, int | float):
        return what
    return tr("{what}, error {error}", what=what, error=layout.number(error))
