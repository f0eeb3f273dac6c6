"""Which model to count: a preset, a folder, a config.json or a mapping, checked before use.

The one way in for configs of the calculator. What a config may hold is decided in
`base_models.model_config`, whether transformers can build the model in `meta_model.py`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from lora_engine.base_models.model_config import check_config, read_config_file
from lora_engine.calculator.presets import PRESETS
from lora_engine.errors import EngineError, FieldProblem, InvalidInput, NotFound
from lora_engine.files import given_path
from lora_engine.foreign_folder import refuse_foreign_files
from lora_engine.language import tr

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*\Z")


@dataclass(frozen=True)
class ModelSource:
    """A checked model configuration.

    label: what to call it on a screen.
    config_json: the checked config as canonical JSON; equal text means an equal model.
    notes: what was left out of the given file, for the person.
    """

    label: str
    config_json: str
    notes: tuple[str, ...] = ()

    @property
    def config(self) -> dict[str, Any]:
        return json.loads(self.config_json)


def preset_source(name: str) -> ModelSource:
    """The preset called `name`. Raises NotFound listing near names, or all of them."""
    if name not in PRESETS:
        near = get_close_matches(str(name)[:100], PRESETS, n=3) or sorted(PRESETS)
        raise NotFound(
            tr("There is no preset called {name}.", name=f"{str(name)[:100]!r}"),
            tr("Presets: {near}.", near=", ".join(near)),
        )
    return config_source(PRESETS[name].config, PRESETS[name].title)


def path_source(path: str | Path) -> ModelSource:
    """The config.json at `path`, or in the folder `path`.

    Raises NotFound if there is none, EngineError if it is no JSON object of at most 1 MiB, and
    InvalidInput naming each field that is out of bounds, and as `refuse_foreign_files` does.
    """
    given = given_path(path)
    if given.is_dir():
        refuse_foreign_files(given)
    file = given / "config.json" if given.is_dir() else given
    if not file.is_file():
        raise NotFound(
            tr("There is no file {file}.", file=file),
            tr("Name a model's folder or its config.json."),
        )
    config = read_config_file(file)
    return config_source(config, given.name if given.is_dir() else given.parent.name or given.name)


def given_config(path: str | Path) -> str:
    """The config.json at `path` as it was given, once it is checked: `config_source` tells of it
    what was left out. Raises as `path_source` does."""
    path_source(path)
    return json.dumps(read_config_file(given_path(path)))


def hub_source(repo_id: str) -> ModelSource:
    """The config.json of a model on the hub, fetched because the person named it; nothing else is.

    Raises InvalidInput if it is no hub id, EngineError if the file cannot be had.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    if not isinstance(repo_id, str) or not _HUB_ID.match(repo_id) or len(repo_id) > 96:
        found = tr("got {name}; organization/name is allowed", name=f"{str(repo_id)[:100]!r}")
        problem = FieldProblem("hub id", found)
        raise InvalidInput(tr("The model"), [problem], tr("Name it as on its page on the hub."))
    try:
        file = hf_hub_download(repo_id, "config.json")
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise EngineError(
            tr(
                "The config of {repo_id} cannot be fetched: {reason}",
                repo_id=repo_id,
                reason=reason,
            ),
            tr(
                "Check the name and the network, or give a folder that holds the model's "
                "config.json."
            ),
        ) from error
    source = path_source(file)
    return replace(source, label=repo_id)


def config_source(config: Any, label: str = "config.json") -> ModelSource:
    """A config that is already parsed.

    Raises InvalidInput naming every field that is missing, of a wrong kind or out of bounds.
    """
    kept, notes = check_config(config, label)
    return ModelSource(label, json.dumps(kept, sort_keys=True), notes)
