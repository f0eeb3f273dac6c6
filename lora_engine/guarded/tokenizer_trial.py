"""A tokenizer's files in a model folder, read and tried in a guarded process.

Their patterns and normalizers are programs of somebody else's: one may never end, another write
without bound. So tokenizer.json is loaded and tried on texts that bring out such programs, those
that it names among them.
"""

from __future__ import annotations

import json
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lora_engine.errors import EngineError
from lora_engine.language import tr, translatable

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token")
MAX_ADDED = 100_000
MAX_TEMPLATE_BYTES = 1 << 20
"""Of a chat template; the longest published ones have some 20,000."""
MAX_STEPS = 256
"""Of normalizers, pre-tokenizers, decoders and post-processors together; published ones have some
ten. A tokenizer runs each on every text."""
STEPS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
REMEDY = translatable("Get the tokenizer's files from the model's source again.")
TRIED = [
    "The sky is blue, isn't it?\n\n\t 12345 = 3.14 ünïcödé 漢字 \U0001f600",
    *(character * 64 for character in string.printable),
    *(f"{character * 64}\0" for character in string.ascii_letters),
]
MOST_NAMED = 200


def try_tokenizer(folder: str, names: list[str]) -> None:
    """Raises EngineError naming the file that is no tokenizer's.

    names: of the files that are there, each a JSON object.
    """
    found = {name: _read(Path(folder, name)) for name in names}
    for name, key in ((TOKENIZER_FILE, "added_tokens"), (CONFIG_FILE, "added_tokens_decoder")):
        _check_added(Path(folder, name), found.get(name, {}).get(key))
    if len(str(found.get(CONFIG_FILE, {}).get("chat_template"))) > MAX_TEMPLATE_BYTES:
        size = MAX_TEMPLATE_BYTES >> 20
        why = tr("its chat template has more than {size} MiB", size=size)
        raise unusable(Path(folder, CONFIG_FILE), why)
    for key, value in found.get(CONFIG_FILE, {}).items():
        if key in SPECIAL and not _is_token(value):
            raise EngineError(
                tr(
                    "{folder} has {value} as {key}; a text, or an object with its content, "
                    "is allowed.",
                    folder=Path(folder, CONFIG_FILE),
                    value=f"{str(value)[:60]!r}",
                    key=key,
                ),
                tr("Correct the token there."),
            )
    _check_most_tokens(Path(folder, CONFIG_FILE), found.get(CONFIG_FILE, {}))
    if TOKENIZER_FILE in found:
        path = Path(folder, TOKENIZER_FILE)
        steps = {key: found[TOKENIZER_FILE].get(key) for key in STEPS}
        found.clear()
        _refuse_too_many_steps(path, steps)
        _try(path, [*TRIED, *_texts_to_try(steps)])


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
        if isinstance(document, dict):
            return document
        why = tr("it is no JSON object")
    except OSError as error:
        why = str(error.strerror).lower()
    except (ValueError, RecursionError):
        why = tr("it is no JSON object")
    raise EngineError(tr("{path} cannot be read: {why}.", path=path, why=why), tr(REMEDY))


def _check_added(path: Path, added: Any) -> None:
    if isinstance(added, list | dict) and len(added) > MAX_ADDED:
        raise EngineError(
            tr(
                "{path} adds {count} tokens; {max_added} are allowed.",
                path=path,
                count=f"{len(added):,}",
                max_added=f"{MAX_ADDED:,}",
            ),
            tr(REMEDY),
        )


def _check_most_tokens(path: Path, config: dict[str, Any]) -> None:
    """transformers compares it with each text's number of tokens, and also takes its old name."""
    for key in ("model_max_length", "max_len"):
        value = config.get(key)
        if value is not None and type(value) not in (int, float):
            raise EngineError(
                tr(
                    "{path} has {value} as {key}; a number is allowed.",
                    path=path,
                    value=f"{str(value)[:60]!r}",
                    key=key,
                ),
                tr("Correct the number there."),
            )


def _is_token(value: Any) -> bool:
    content = value.get("content") if isinstance(value, dict) else value
    return content is None or isinstance(content, str)


def _refuse_too_many_steps(path: Path, steps: dict[str, Any]) -> None:
    count = sum("type" in node for node in _objects(steps))
    if count > MAX_STEPS:
        raise EngineError(
            tr(
                "{path} takes {count} steps for each text; {most} are allowed.",
                path=path,
                count=f"{count:,}",
                most=MAX_STEPS,
            ),
            tr(REMEDY),
        )


def _texts_to_try(steps: dict[str, Any]) -> Iterator[str]:
    """The texts that the steps name, and runs of the characters in them."""
    named: dict[str, None] = {}
    for node in _objects(steps):
        for value in node.values():
            if isinstance(value, str) and len(named) < MOST_NAMED:
                named[value[:MOST_NAMED]] = None
    yield from (text * 8 for text in named)
    characters = [one for one in dict.fromkeys("".join(named)) if one not in string.printable]
    for one in characters[:MOST_NAMED]:
        yield one * 64
        yield f"{one * 64}\0"


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """The objects in a JSON value, without recursion: it may be nested deep."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            yield one
            left += one.values()
        elif isinstance(one, list):
            left += one


def _try(path: Path, texts: list[str]) -> None:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
        for text in texts:
            tokenizer.encode(text)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - tokenizers raises plain exceptions
        why = tr("it is no tokenizer ({error})", error=" ".join(str(error).split())[:200])
        raise unusable(path, why) from None


def unusable(path: Path, why: str) -> EngineError:
    return EngineError(
        tr("{path} cannot be used as a tokenizer: {why}.", path=path, why=why), tr(REMEDY)
    )
