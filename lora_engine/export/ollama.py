"""An Ollama Modelfile with its adapter: base, adapter, template and stop tokens.

    FROM base folder   ADAPTER ./adapter   TEMPLATE (Go)   PARAMETER stop ...

The adapter beside it is portable, because Ollama divides `lora_alpha` by each tensor's rank. The
template is proven against the tokenizer's own (`go_template`). Ollama itself is not run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from lora_engine.adapter_operations.output_folder import output_folder
from lora_engine.base_models import BaseModel, load_tokenizer
from lora_engine.base_models.weight_files import local_folder
from lora_engine.data import chat_template_of, stop_tokens
from lora_engine.data.trained_template import tokenizer_as_trained
from lora_engine.errors import EngineError
from lora_engine.export.go_template import TurnTemplate, derive
from lora_engine.export.load_rules import where_it_loads
from lora_engine.export.portable import PortableReport, portable
from lora_engine.files import read_json_object
from lora_engine.language import tr

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MODELFILE = "Modelfile"
ADAPTER_FOLDER = "adapter"
ENDS_A_TEXT = re.compile(r'"""[^\S\r\n]*[\r\n]')


@dataclass(frozen=True)
class OllamaReport:
    """A written folder. template: the pieces of the chat template."""

    path: Path
    adapter: PortableReport
    template: TurnTemplate
    notes: tuple[str, ...]


def write_ollama(
    source: Path,
    output: Path,
    base: BaseModel,
    model_type: str | None,
    *,
    system: str = "",
    overwrite: bool = False,
) -> OllamaReport:
    """Write `Modelfile` and the portable adapter that it names into `output`.

    system: a text for SYSTEM, empty for none. Raises EngineError where Ollama would not compute
    what was trained, where the template cannot be translated or takes no system turn for `system`,
    and for a base whose files are not here; Conflict for an output that exists. Nothing is left
    then.
    """
    folder = local_folder(base)
    if folder is None:
        raise EngineError(
            tr(
                "The files of {name} are not on this machine, and FROM names their folder.",
                name=f"{base.name!r}",
            ),
            tr("Load the model once while online, or give the base as a folder."),
        )
    tokenizer = tokenizer_as_trained(load_tokenizer(BaseModel(base.name, folder)), source)
    template = derive(chat_template_of(tokenizer))
    if system and template.system is None:
        raise EngineError(
            tr(
                "The base's chat template takes no system turn, so SYSTEM would be written nowhere."
            ),
            tr("Leave the system text out, or put it into the questions."),
        )
    notes = list(_template_notes(template))
    if template.start and _adds_start(tokenizer):
        template = replace(template, start="")
        notes.append(tr("The start token is left to Ollama, because the tokenizer adds it itself."))
    with output_folder(Path(output), MODELFILE, overwrite) as staging:
        written = portable(source, staging / ADAPTER_FOLDER)
        _refuse_what_ollama_does_not_load(staging / ADAPTER_FOLDER, model_type)
        stops = _stops(tokenizer, folder)
        (staging / MODELFILE).write_text(modelfile(folder, template, stops, system), "utf-8")
    return OllamaReport(Path(output), written, template, tuple(notes))


def modelfile(base: Path, template: TurnTemplate, stops: Sequence[str], system: str = "") -> str:
    """The Modelfile's text. Raises EngineError for a text that it cannot hold."""
    lines = [f"FROM {_quoted(str(base))}", f"ADAPTER ./{ADAPTER_FOLDER}"]
    lines.append(f"TEMPLATE {_quoted(template.to_go())}")
    lines += [f"PARAMETER stop {_quoted(stop)}" for stop in stops]
    lines += [f"SYSTEM {_quoted(system)}"] if system else []
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """The text between three quotes, as Ollama's reader of Modelfiles takes it back.

    Quotes inside stay as they are: the reader ends a text only where a line ends with three of them
    (ollama/ollama: parser/parser.go at 00dc3af). Raises EngineError for such a line, which has no
    escape, and for characters that the reader drops.
    """
    lost = [one for one in text if not (one.isprintable() or one in "\t\r\n")]
    if lost:
        raise EngineError(
            tr(
                "A text for the Modelfile has {lost}; Ollama drops characters that do not print.",
                lost=f"{lost[0]!r}",
            ),
            tr("Write the text without them."),
        )
    quoted = f'"""{text}'
    early = ENDS_A_TEXT.search(quoted, 3)
    if early is not None:
        line = quoted[3 : early.end()].splitlines()[-1]
        raise EngineError(
            tr(
                "A Modelfile cannot hold the line {line}: three quotes that end a line end "
                "the text.",
                line=f"{line[-60:]!r}",
            ),
            tr("Put a word after the quotes, or take other quotes."),
        )
    return f'{quoted}"""'


def _stops(tokenizer: PreTrainedTokenizerBase, folder: Path) -> list[str]:
    """The texts of the tokens that end an answer, by their ids."""
    path = folder / "generation_config.json"
    config = read_json_object(path) if path.is_file() else {}
    ends = stop_tokens(tokenizer, SimpleNamespace(eos_token_id=config.get("eos_token_id")))
    return [str(tokenizer.convert_ids_to_tokens(end)) for end in sorted(ends)]


def _adds_start(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a plain text gets the start token, which llama.cpp adds then too."""
    return tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]


def _template_notes(template: TurnTemplate) -> Sequence[str]:
    notes = []
    if template.system is None:
        notes.append(tr("The chat template takes no system turn, so the Modelfile's writes none."))
    if template.trims:
        notes.append(
            tr(
                "The chat template strips spaces around a content; Ollama's keeps them. Give "
                "contents without them."
            )
        )
    return notes


def _refuse_what_ollama_does_not_load(adapter: Path, model_type: str | None) -> None:
    (rule,) = [one for one in where_it_loads(adapter, model_type) if one.program == "Ollama"]
    if not rule.loads:
        raise EngineError(
            tr("Ollama would not compute what was trained. {reason}", reason=rule.reason),
            tr("Source: {source}.", source=rule.source),
        )
