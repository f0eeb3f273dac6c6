"""README.md of an export: the hub's metadata, and what the adapter's own files say of it.

Told are the base, the data by their names, the method, what the run measured, how to load it and
with which versions it was made. No path of this machine is told and no secret (`public_names`), and
no license: that is for the person to choose. Reads small JSON files only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from lora_engine.adapters import (
    AdapterConfig,
    describe_adapter,
    read_applicable_config,
    read_provenance,
)
from lora_engine.adapters.loading_code import UNNAMED, adapter_program, model_program
from lora_engine.adapters.summary import is_of_run, object_in, text_in
from lora_engine.base_models import resolve_base_model
from lora_engine.data.sources import STARTER_PREFIX, is_on_the_hub
from lora_engine.errors import EngineError
from lora_engine.export.forms import Form
from lora_engine.export.gguf_adapter import ADAPTER_FILE
from lora_engine.export.gguf_export import MERGED_FILE
from lora_engine.export.public_names import public_document, public_name, public_text
from lora_engine.files import read_json_object
from lora_engine.run_folder import RunResult
from lora_engine.settings import Settings

README = "README.md"
GGUF_FILES: Mapping[Form, str] = {"gguf": ADAPTER_FILE, "merged-gguf": MERGED_FILE}
UNFILLED = "# Model Card for Model ID"  # PEFT's own card, with nothing filled in
TOLD = ("task", "dataset", "method", "objective", "optimization", "quantization", "seed")
MAX_SPEC = 20_000  # characters
MAX_README = 1_000_000  # bytes


@dataclass(frozen=True)
class Name:
    """A model or a dataset as it is told. on_hub: it is an id that the hub's metadata may name."""

    text: str
    on_hub: bool


@dataclass(frozen=True)
class CardFacts:
    """What a card says. name: of the adapter for people; place: its hub id or folder.

    document: the adapter's provenance, empty where it has none. result: of the run that left it.
    """

    name: str
    place: str
    form: Form
    base: Name | None
    datasets: tuple[Name, ...]
    config: AdapterConfig
    document: Mapping[str, Any]
    result: RunResult | None

    @property
    def is_merged(self) -> bool:
        return self.form in ("merged", "merged-gguf")


def readme_of(adapter: Path) -> str:
    """The README.md that lies beside the adapter; empty for none, and for PEFT's unfilled one."""
    path = adapter / README
    if not path.is_file() or path.stat().st_size > MAX_README:
        return ""
    text = path.read_text("utf-8", errors="replace")
    return "" if UNFILLED in text else text


def model_card(
    adapter: Path, place: str, form: Form, settings: Settings, base: str | None = None
) -> str:
    """The card of the adapter in this folder, exported in this form.

    place: the hub id it is pushed to, else the name of the folder that it is exported to. base:
    another name of its base. Raises as `describe_adapter`.
    """
    return _written(_facts(adapter, place, form, settings, base))


def _facts(
    adapter: Path, place: str, form: Form, settings: Settings, base: str | None
) -> CardFacts:
    summary = describe_adapter(adapter)
    document = read_provenance(adapter) or {}
    named = base or summary.base_model
    return CardFacts(
        name=public_text(summary.name),
        place=place,
        form=form,
        base=None if named is None else _base_name(named, settings),
        datasets=tuple(_dataset_name(one, settings) for one in _sources(document)),
        config=read_applicable_config(adapter),
        document=document,
        result=_result(adapter),
    )


def _base_name(name: str, settings: Settings) -> Name:
    """Only a name that no folder here has is one of the hub's."""
    told = public_name(name)
    try:
        return Name(told, resolve_base_model(told, settings).path is None)
    except EngineError:
        return Name(told, False)


def _dataset_name(source: str, settings: Settings) -> Name:
    if source.startswith(STARTER_PREFIX):
        return Name(source, False)
    if is_on_the_hub(source, settings):
        return Name(source, True)
    return Name(public_name(PurePath(source).name), False)


def _sources(document: Mapping[str, Any]) -> Sequence[str]:
    """The datasets of the spec: its source, or those of a mixture."""
    dataset = object_in(object_in(document, "spec"), "dataset")
    parts = dataset.get("mixture")
    mixed = [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    found = [text_in(one, "source") for one in (dataset, *mixed)]
    return [*dict.fromkeys(one for one in found if one)]


def _result(adapter: Path) -> RunResult | None:
    if not is_of_run(adapter):
        return None
    try:
        return RunResult.model_validate(read_json_object(adapter.parent / "result.json"))
    except (OSError, ValueError):  # the card goes without it
        return None


def _written(facts: CardFacts) -> str:
    parts = [
        f"---\n{_metadata(facts)}\n---",
        f"# {_inline(facts.place)}\n\n{_opening(facts)}",
        f"## Load it\n\n{_program(facts)}",
        f"## Training\n\n{_table(_training(facts))}",
    ]
    held_out = _measured(facts.result)
    if held_out:
        parts.append(f"## Results\n\n{_table(held_out)}\n\n{_of_what(facts)}")
    made = _made(facts.document)
    if made:
        parts.append(f"## How it was made\n\n{made}")
    spec = _spec(facts.document)
    if spec:
        parts.append(f"## Spec\n\n```json\n{spec}\n```")
    versions = object_in(facts.document, "versions")
    if versions:
        rows = [(_inline(name), _inline(str(version))) for name, version in versions.items()]
        parts.append(f"## Versions\n\n{_table(rows)}")
    return "\n\n".join(parts) + "\n"


def _metadata(facts: CardFacts) -> str:
    """YAML that the hub reads. A base or dataset that is not on the hub is not named there."""
    from huggingface_hub import ModelCardData

    gguf = facts.form in GGUF_FILES
    on_hub = facts.base is not None and facts.base.on_hub
    kinds = {"rslora": facts.config.use_rslora, "dora": facts.config.use_dora}
    classifies = object_in(facts.document, "spec").get("task") == "classification"
    return (
        ModelCardData(
            base_model=facts.base.text if on_hub and facts.base else None,
            base_model_relation=("finetune" if facts.is_merged else "adapter") if on_hub else None,
            datasets=[one.text for one in facts.datasets if one.on_hub] or None,
            library_name="gguf" if gguf else "transformers" if facts.is_merged else "peft",
            pipeline_tag="text-classification" if classifies else "text-generation",
            tags=[
                "lora",
                *(kind for kind, used in kinds.items() if used),
                *(("gguf", "llama-cpp") if gguf else ()),
                "rankscope",
            ],
        )
        .to_yaml()
        .rstrip()
    )


def _opening(facts: CardFacts) -> str:
    base = "a base model that its files do not name" if facts.base is None else _base_words(facts)
    joined = "merged into" if facts.is_merged else "for"
    return (
        f"The LoRA adapter {_inline(facts.name)} {joined} {base}, exported with Rankscope.\n\n"
        "No license is named here: it is the author's to choose, within those of the base and the "
        "data."
    )


def _base_words(facts: CardFacts) -> str:
    assert facts.base is not None
    return _inline(facts.base.text) + ("" if facts.base.on_hub else " (not on the hub)")


def _program(facts: CardFacts) -> str:
    """What to run, fenced."""
    if facts.form in GGUF_FILES:
        base = "" if facts.is_merged else "BASE.gguf --lora "
        return f"```\nllama-server -m {base}{GGUF_FILES[facts.form]}\n```"
    with_template = bool(facts.document.get("chat_template"))
    if facts.is_merged:
        return f"```python\n{model_program(facts.place, with_template)}```"
    base = UNNAMED
    if facts.base is not None:
        base = facts.base.text if facts.base.on_hub else f"PATH/TO/{facts.base.text}"
    return f"```python\n{adapter_program(base, facts.place, with_template)}```"


def _training(facts: CardFacts) -> Sequence[tuple[str, str]]:
    config, document = facts.config, facts.document
    spec = object_in(document, "spec")
    chosen = object_in(spec, "optimization")
    targets = config.target_modules
    names = [targets] if isinstance(targets, str) else sorted(targets or [])
    variants = {"rsLoRA": config.use_rslora, "DoRA": config.use_dora, "lora_bias": config.lora_bias}
    rows = {
        "Base": None if facts.base is None else facts.base.text,
        "Base's fingerprint": text_in(document, "base_fingerprint"),
        "Data": ", ".join(one.text for one in facts.datasets),
        "Hash of the rows": text_in(document, "data_hash"),
        "Chat template": text_in(document, "chat_template"),
        "Rank": config.r,
        "Alpha": f"{config.lora_alpha:g}",
        "Variant": ", ".join(name for name, used in variants.items() if used),
        "Own ranks and alphas": "yes" if config.rank_pattern or config.alpha_pattern else None,
        "Target modules": ", ".join([*names, *(config.target_parameters or [])]),
        "Modules saved whole": ", ".join(config.modules_to_save or []),
        "Quantized base": _bits(object_in(spec, "quantization")),
        "Learning rate": chosen.get("learning_rate"),
        "Epochs": None if chosen.get("max_steps") else chosen.get("epochs"),
        "Steps": chosen.get("max_steps"),
        "Seed": spec.get("seed"),
    }
    return [(name, _inline(str(value))) for name, value in rows.items() if value not in (None, "")]


def _bits(quantization: Mapping[str, Any]) -> str | None:
    bits, kind = quantization.get("bits"), quantization.get("type", "nf4")
    return None if bits is None else f"{bits}-bit" + (f" ({kind})" if bits == 4 else "")


def _measured(result: RunResult | None) -> Sequence[tuple[str, str]]:
    """What the run measured of it; losses in nats a token."""
    if result is None:
        return []
    best = result.best_step is not None and result.saved_step == result.best_step
    rows = {
        "Held-out loss": result.best_eval_loss if best else result.eval_loss,
        "Held-out loss at the start": result.start_eval_loss,
        "Held-out accuracy": result.eval_accuracy,
        "Held-out F1": result.eval_f1,
        "Training loss": result.train_loss,
    }
    found = [(name, f"{value:.4f}") for name, value in rows.items() if value is not None]
    steps = result.steps if result.saved_step is None else result.saved_step
    return (
        [*found, ("Steps trained", f"{steps:,}"), ("Tokens", f"{result.tokens:,}")] if found else []
    )


def _of_what(facts: CardFacts) -> str:
    of = "the adapter on its base, before the merge" if facts.is_merged else "the adapter"
    return f"Measured by the training run, of {of}; losses in nats a token."


def _made(document: Mapping[str, Any]) -> str:
    """The operation that made the adapter out of others."""
    operation = object_in(document, "operation")
    kind = text_in(operation, "kind")
    if kind is None:
        return ""
    sources = operation.get("sources")
    named = [one for one in sources if isinstance(one, dict)] if isinstance(sources, list) else []
    names = [_inline(public_name(name)) for one in named if (name := text_in(one, "name"))]
    return f"{_inline(kind)}" + (f" of {', '.join(names)}" if names else "") + "."


def _spec(document: Mapping[str, Any]) -> str:
    """The fields of the spec that made the weights; prompts and trackers stay at home."""
    spec = object_in(document, "spec")
    told = _without_nulls({field: spec[field] for field in TOLD if field in spec})
    text = json.dumps(public_document(told), indent=1) if told else ""
    return text if len(text) <= MAX_SPEC else ""


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value


def _table(rows: Sequence[tuple[str, str]]) -> str:
    cells = [(name, value.replace("|", r"\|")) for name, value in rows]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in cells)])


def _inline(text: str) -> str:
    """Code in a line: nothing in it is markup."""
    plain = " ".join(public_text(text).replace("`", "'").split())
    return f"`{plain[:300]}`"
