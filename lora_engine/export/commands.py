"""What to type to serve an export: the exact commands of vLLM, TGI, llama.cpp and Ollama.

A command is given where the load rules say that the program computes what was trained. Where they
do not, the commands are those that write the form which the program loads, and serve that. Every
word is quoted for a POSIX shell. Nothing is run here, and whether a program is installed is not
known.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_engine.adapters import read_applicable_config
from lora_engine.adapters.names import name_from
from lora_engine.base_models import BaseModel
from lora_engine.base_models.weight_files import local_folder
from lora_engine.errors import EngineError
from lora_engine.export.forms import Form
from lora_engine.export.gguf_adapter import ADAPTER_FILE
from lora_engine.export.gguf_export import BASE_FILE, MERGED_FILE
from lora_engine.export.llama_cpp import CONVERT_ADAPTER, CONVERT_MODEL
from lora_engine.export.load_rules import LoadRule, Program, vllm_rank
from lora_engine.language import tr

CONVERTERS = '"$LLAMA_CPP_DIR"'  # a checkout of llama.cpp; the one word the shell fills in


@dataclass(frozen=True)
class ServeCommand:
    """How one program serves an export.

    lines: for a POSIX shell, one after the other; empty where nothing helps. note: why other lines
    than for the export as it is, or why none; empty where it loads.
    """

    program: Program
    lines: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class Served:
    """What is to be served. source: as the person named the adapter. rank: the largest of its
    modules. base: the model it was trained on."""

    source: str
    path: Path
    rank: int
    base: BaseModel

    @property
    def name(self) -> str:
        """What the server calls it: a name without spaces or signs."""
        return name_from(self.path.name)

    @property
    def base_files(self) -> Path | None:
        """The folder of the base's files; None where they are not on this machine."""
        return local_folder(self.base)


Maker = Callable[[Served], tuple[str, ...]]


def vllm_command(base: str, adapters: Mapping[str, Path], rank: int) -> str:
    """The command that serves a base (a folder or a hub id) and adapters, each by its name.

    rank: the largest of the adapters'. Raises EngineError for one beyond what vLLM takes.
    """
    allowed = vllm_rank(rank)
    if allowed is None:
        raise EngineError(
            tr("vLLM takes no adapter of rank {rank}.", rank=rank), tr("Resize it first.")
        )
    modules = [_vllm_module(name, path) for name, path in adapters.items()]
    words = ["vllm", "serve", base, "--enable-lora", "--lora-modules", *modules]
    return shlex.join([*words, "--max-lora-rank", str(allowed)])


def adapter_commands(
    served: Served, form: Form, rules: Sequence[LoadRule]
) -> tuple[ServeCommand, ...]:
    """The commands for an exported adapter, one a program that serves.

    rules: where it loads. form: which it was exported in; a Modelfile is for Ollama alone.
    """
    if form == "ollama":
        return (ServeCommand("Ollama", _ollama(served)),)
    return tuple(
        _by_rule(rule, served, MAKERS[rule.program]) for rule in rules if rule.program in MAKERS
    )


def merged_commands(path: Path) -> tuple[ServeCommand, ...]:
    """The commands for a merged model, which every program loads as it loads its base."""
    name = name_from(path.name)
    model = f"{name}.gguf"
    return (
        ServeCommand("vLLM", (shlex.join(["vllm", "serve", str(path)]),)),
        ServeCommand(
            "llama.cpp",
            (_convert_model(path, model), shlex.join(["llama-server", "-m", model])),
        ),
        ServeCommand("TGI", (shlex.join(["text-generation-launcher", "--model-id", str(path)]),)),
    )


def gguf_commands(served: Served) -> tuple[ServeCommand, ...]:
    """The commands for an adapter as GGUF; llama.cpp wants its base so too, which is written beside
    it first where it is not there."""
    base, adapter = served.path / BASE_FILE, served.path / ADAPTER_FILE
    serve = shlex.join(["llama-server", "-m", str(base), "--lora", str(adapter)])
    write = [*_export(served, served.path, "gguf"), "--with-base", "--overwrite"]
    lines = (serve,) if base.is_file() else (shlex.join(write), serve)
    return (ServeCommand("llama.cpp", lines),)


def merged_gguf_commands(path: Path) -> tuple[ServeCommand, ...]:
    """The commands for a merged model as GGUF."""
    serve = shlex.join(["llama-server", "-m", str(path / MERGED_FILE)])
    return (ServeCommand("llama.cpp", (serve,)),)


def largest_rank(adapter: Path) -> int:
    """Of the adapter's configuration: r, or more where a pattern gives more."""
    config = read_applicable_config(adapter)
    return max([config.r, *(config.rank_pattern or {}).values()])


def _by_rule(rule: LoadRule, served: Served, lines: Maker) -> ServeCommand:
    if rule.program == "TGI" and "," in str(served.path):
        return ServeCommand(
            "TGI", (), tr("It takes LORA_ADAPTERS apart at commas; rename the folder.")
        )
    if rule.program == "Ollama" and (rule.loads or rule.instead == "portable"):
        return _other_form(served, "ollama", lines, rule)  # it wants a Modelfile
    if rule.loads:
        return ServeCommand(rule.program, lines(served))
    if rule.instead is None or (rule.instead == "merged" and rule.program == "Ollama"):
        return ServeCommand(rule.program, (), rule.reason)
    return _other_form(served, rule.instead, lines, rule)


def _other_form(served: Served, form: Form, lines: Maker, rule: LoadRule) -> ServeCommand:
    """Write the form that the program loads beside this export, and serve that."""
    path = served.path.with_name(f"{served.path.name}-{form}")
    write = shlex.join(_export(served, path, form))
    if form == "merged":
        (serve,) = [one.lines for one in merged_commands(path) if one.program == rule.program]
    else:
        serve = lines(Served(served.source, path, served.rank, served.base))
    return ServeCommand(rule.program, (write, *serve), "" if rule.loads else rule.reason)


def _export(served: Served, path: Path, form: Form) -> list[str]:
    return ["python", "-m", "lora_engine", "export", served.source, "-o", str(path), "--as", form]


def _vllm(served: Served) -> tuple[str, ...]:
    adapters = {served.name: served.path}
    return (vllm_command(served.base.source, adapters, served.rank),)


def _vllm_module(name: str, path: Path) -> str:
    """name=path; as JSON for a path with the signs at which vLLM would take it apart."""
    if "=" in str(path) or "," in str(path):
        return json.dumps({"name": name, "path": str(path)})
    return f"{name}={path}"


def _tgi(served: Served) -> tuple[str, ...]:
    adapter = shlex.quote(f"{served.name}={served.path}")
    launch = shlex.join(["text-generation-launcher", "--model-id", served.base.source])
    return (f"LORA_ADAPTERS={adapter} {launch}",)


def _ollama(served: Served) -> tuple[str, ...]:
    create = ["ollama", "create", served.name, "-f", str(served.path / "Modelfile")]
    return shlex.join(create), shlex.join(["ollama", "run", served.name])


def _llama_cpp(served: Served) -> tuple[str, ...]:
    adapter, folder = f"{served.name}.gguf", served.base_files
    named = ["--base", str(folder)] if folder else ["--base-model-id", served.base.name]
    words = [str(served.path), *named, "--outfile", adapter]
    convert = f"python {CONVERTERS}/{CONVERT_ADAPTER} {shlex.join(words)}"
    base = f"{served.name}-base.gguf"
    return (
        _convert_model(folder, base) if folder else _convert_from_hub(served.base.name, base),
        convert,
        shlex.join(["llama-server", "-m", base, "--lora", adapter]),
    )


def _convert_model(folder: Path, outfile: str) -> str:
    words = shlex.join([str(folder), "--outfile", outfile])
    return f"python {CONVERTERS}/{CONVERT_MODEL} {words}"


def _convert_from_hub(hub_id: str, outfile: str) -> str:
    words = shlex.join(["--remote", hub_id, "--outfile", outfile])
    return f"python {CONVERTERS}/{CONVERT_MODEL} {words}"


MAKERS: Mapping[Program, Maker] = {
    "vLLM": _vllm,
    "llama.cpp": _llama_cpp,
    "Ollama": _ollama,
    "TGI": _tgi,
}
"""The programs that serve; PEFT is a library."""
