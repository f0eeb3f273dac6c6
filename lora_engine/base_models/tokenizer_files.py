"""The tokenizer's files in a model folder as untrusted input, checked before anything loads them.

Their JSON is read in bounds. tokenizer.json is then tried in a child process (`tokenizer_child.py`)
with limits of time and memory, once for every state of the file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from lora_engine.errors import EngineError
from lora_engine.files import TooLarge, read_json_object
from lora_engine.language import language, tr, translatable

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
OBJECTS = (TOKENIZER_FILE, CONFIG_FILE, "special_tokens_map.json", "added_tokens.json")
SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token")
MAX_BYTES = 128 << 20  # the largest published tokenizer.json has some 35 MB
MAX_ADDED = 100_000
CHILD_MEMORY_BYTES = 2 << 30
CHILD_CPU_S = 10  # the largest published ones load in 2 s
CHILD_TIMEOUT_S = 120  # of a machine that has other work
REMEDY = translatable("Get the tokenizer's files from the model's source again.")
_CHILD = Path(__file__).with_name("tokenizer_child.py")


def check_tokenizer_files(folder: Path) -> None:
    """Raises EngineError naming the file that is no tokenizer's, or that costs too much to use."""
    found = {name: _read(folder / name) for name in OBJECTS if _is_there(folder / name)}
    _check_added(folder, found.get(TOKENIZER_FILE, {}).get("added_tokens"))
    for key, value in found.get(CONFIG_FILE, {}).items():
        if key in SPECIAL and not _is_token(value):
            raise EngineError(
                tr(
                    "{folder} has {value} as {key}; a text, or an object with its content, "
                    "is allowed.",
                    folder=folder / CONFIG_FILE,
                    value=f"{str(value)[:60]!r}",
                    key=key,
                ),
                tr("Correct the token there."),
            )
    if TOKENIZER_FILE in found:
        path = folder / TOKENIZER_FILE
        state = path.stat()
        why = _trial(path.resolve(), state.st_size, state.st_mtime_ns, language())
        if why:
            raise EngineError(
                tr("{path} cannot be used as a tokenizer: {why}.", path=path, why=why), tr(REMEDY)
            )


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_json_object(path, MAX_BYTES)
    except TooLarge:
        why = tr("it has more than {size} MiB, which no tokenizer's file has", size=MAX_BYTES >> 20)
    except OSError as error:
        why = str(error.strerror).lower()
    except ValueError:
        why = tr("it is no JSON object")
    raise EngineError(tr("{path} cannot be read: {why}.", path=path, why=why), tr(REMEDY))


def _check_added(folder: Path, added: Any) -> None:
    if isinstance(added, list) and len(added) > MAX_ADDED:
        raise EngineError(
            tr(
                "{folder} adds {count} tokens; {max_added} are allowed.",
                folder=folder / TOKENIZER_FILE,
                count=f"{len(added):,}",
                max_added=f"{MAX_ADDED:,}",
            ),
            tr(REMEDY),
        )


def _is_token(value: Any) -> bool:
    content = value.get("content") if isinstance(value, dict) else value
    return content is None or isinstance(content, str)


@lru_cache(maxsize=64)
def _trial(path: Path, size: int, changed: int, _language: str) -> str:
    """Why the file cannot be used, empty where it can.

    size, changed and the language of the words are of the cache's key.
    """
    limits = [str(CHILD_MEMORY_BYTES), str(CHILD_CPU_S)]
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "LANG": "C.UTF-8",
        "RAYON_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(_CHILD), *limits, str(path)],
            capture_output=True,
            env=environment,
            timeout=CHILD_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return tr("it takes over {seconds} s", seconds=CHILD_TIMEOUT_S)
    if done.returncode == 0:
        return ""
    if done.returncode == 3:
        return tr("it is no tokenizer ({error})", error=json.loads(done.stdout)["error"])
    return tr(
        "loading and trying it takes over {seconds} s of processor time or {size} GiB, as a "
        "pattern that never ends does",
        seconds=CHILD_CPU_S,
        size=CHILD_MEMORY_BYTES >> 30,
    )
