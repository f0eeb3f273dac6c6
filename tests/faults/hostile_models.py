"""Model folders that cost far more than they weigh, each made from the starter, and what each way
in makes of them.

    python -m tests.faults.hostile_models [CASE …]    a table: seconds, peak memory of the asking
                                                      process and of all guarded ones, words
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

STARTER = Path(__file__).parents[2] / "lora_engine" / "starter"
HANGS = {"type": "Split", "pattern": {"Regex": "(x+x+)+y"}, "behavior": "Isolated"}
HANGS_ON_OTHERS = {**HANGS, "pattern": {"Regex": "(漢+漢+)+字"}}
GROWS = {"type": "Replace", "pattern": {"String": "漢"}, "content": "漢" * 32}
PARTS = {
    "model_type": "switch_transformers",
    "d_model": 8,
    "d_kv": 4,
    "d_ff": 8,
    "num_heads": 2,
    "vocab_size": 16,
}
SWITCHES = {**PARTS, **dict.fromkeys(("num_layers", "num_decoder_layers"), 512)}
SWITCHES |= {"num_sparse_encoder_layers": 512, "num_experts": 512, "architectures": None}


def copy_starter(folder: Path) -> None:
    shutil.copytree(STARTER / "model", folder)


def _changed(name: str, **keys: Any) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | keys))

    return make


def config(**keys: Any) -> Callable[[Path], None]:
    return _changed("config.json", **keys)


def tokenizer(**keys: Any) -> Callable[[Path], None]:
    return _changed("tokenizer.json", **keys)


def text(name: str, written: Callable[[], str]) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(written())  # type: ignore[return-value]


def template(written: str) -> Callable[[Path], None]:
    return text("chat_template.jinja", lambda: written)


def sequence(steps: list[Any]) -> dict[str, Any]:
    return {"type": "Sequence", "normalizers": steps}


def vocabulary(count: int) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        words = ",".join(f'"{number:x}":{number}' for number in range(count))
        (folder / "tokenizer.json").write_text(
            '{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,'
            '"pre_tokenizer":null,"post_processor":null,"decoder":null,"model":{"type":"BPE",'
            f'"vocab":{{{words}}},"merges":[]}}}}'
        )

    return make


DEEP = '{"a":' * 1_000_000
CONFIGS = {
    "10^9 layers": config(num_hidden_layers=10**9),
    "10^9 hidden": config(hidden_size=10**9),
    "10^9 words": config(vocab_size=10**9),
    "10^9 experts": config(model_type="mixtral", num_local_experts=10**9, architectures=None),
    "negative": config(hidden_size=-256),
    "NaN": config(rms_norm_eps=float("nan")),
    "config of 100 MB": text("config.json", lambda: json.dumps({"a": "x" * 100_000_000})),
    "config deep": text("config.json", lambda: DEEP),
    "layers times experts": config(**SWITCHES),
    "many layers of experts": config(**{**SWITCHES, "num_experts": 64}),
}
LARGE = {
    "more than is stored": config(vocab_size=1_000_000, hidden_size=4096, num_attention_heads=64),
    "generation_config of 100 MB": text(
        "generation_config.json", lambda: "[" + "[]," * 30_000_000 + "[]]"
    ),
}
TOKENIZERS = {
    "a pattern that never ends": tokenizer(pre_tokenizer={**HANGS, "invert": False}),
    "a pattern that waits for a sign": tokenizer(
        pre_tokenizer={**HANGS_ON_OTHERS, "invert": False}
    ),
    "10^4 normalizers": tokenizer(normalizer=sequence([{"type": "Lowercase"}] * 10_000)),
    "Replace that grows": tokenizer(normalizer=sequence([GROWS] * 7)),
    "10^7 words to a tokenizer": vocabulary(10_000_000),
    "4 · 10^6 words to a tokenizer": vocabulary(4_000_000),
    "tokenizer deep": text("tokenizer.json", lambda: DEEP),
    "200,000 added tokens": _changed(
        "tokenizer_config.json",
        added_tokens_decoder={str(n): {"content": f"<{n}>"} for n in range(200_000)},
    ),
    "vocab.txt of 200 MB": text("vocab.txt", lambda: "words\n" * 35_000_000),
}
TEMPLATES = {
    "template loops": template(
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    ),
    "template writes 100 MB": template("{{ 'a' * 10**8 }}"),
    "template wants 10 GB": template("{{ 'a' * 10**10 }}"),
    "template recurses": template("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"),
    "template deep": template("{{ " + "(" * 100_000 + "1" + ")" * 100_000 + " }}"),
    "template of 100 MB": template("x" * 100_000_000),
    "template in the tokenizer's config": _changed(
        "tokenizer_config.json", chat_template="x" * 10_000_000
    ),
}
HOSTILE = {**CONFIGS, **LARGE, **TOKENIZERS, **TEMPLATES}

ROWS = [{"prompt": f"What is {n}?", "completion": "A number."} for n in range(8)]


def ways_in(folder: Path, place: Path) -> dict[str, Callable[[], object]]:
    """By name: each way in as a call. place: an empty folder of the case's own."""
    from lora_engine import __main__
    from lora_engine.base_models import load_tokenizer, resolve_base_model
    from lora_engine.calculator import config_source, count_model
    from lora_engine.calculator.model_source import given_config
    from lora_engine.calculator.named_model import named_source
    from lora_engine.compare.generate.shared_base import SharedBase
    from lora_engine.settings import Settings
    from lora_engine.spec import MethodSpec
    from lora_engine.training.preflight import check_run
    from tests.training_runs import tiny_spec

    rows, spec_file = place / "rows.jsonl", place / "spec.json"
    rows.write_text("\n".join(json.dumps(row) for row in ROWS))
    settings = Settings(data_dir=place / "data", models_dir=place / "models", device="cpu")
    spec = tiny_spec(folder, rows)
    spec_file.write_text(spec.model_dump_json())
    adapter, here = str(STARTER / "adapters" / "pirate-adapter"), str(folder)
    out = str(place / "out")

    def command(*words: str) -> Callable[[], object]:
        def run() -> object:
            os.environ["LORA_DATA_DIR"] = str(settings.data_dir)
            os.environ["LORA_DEVICE"] = "cpu"
            sys.argv = ["rankscope", *words]
            code = __main__.main()
            return f"exit {code}"

        return run

    def uploaded() -> object:
        given = json.loads(given_config(folder / "config.json"))
        return count_model(config_source(given), MethodSpec(rank=2))

    return {
        "calculator": lambda: count_model(named_source(here, settings), MethodSpec(rank=2)),
        "upload": uploaded,
        "check": lambda: check_run(spec, settings),
        "tokenizer": lambda: load_tokenizer(resolve_base_model(here, settings)),
        "compare": lambda: SharedBase.load(resolve_base_model(here, settings), settings),
        "params": command("params", "--config", here),
        "preview": command("preview", str(rows), "--base", here),
        "train": command("train", str(spec_file)),
        "advise": command("advise", "--spec", str(spec_file)),
        "merge": command("merge", adapter, "--base", here, "-o", out),
        "extract": command("extract", "--base", "starter", "--tuned", here, "-o", out),
        "export": command("export", adapter, "--base", here, "-o", out),
    }


def asked_in_a_fork(folder: Path, way: str, seconds: float = 60) -> dict[str, Any]:
    """How one way in ends in a fork of this process, and what it takes."""
    answer, said = os.pipe()
    started = time.monotonic()
    before = _own_memory()
    child = os.fork()
    if child == 0:
        _answer(folder, way, said)
    os.close(said)
    watched = _Watched(child)
    with open(answer, "rb") as pipe:
        late = threading.Timer(seconds, os.kill, (child, 9))
        late.start()
        words = pipe.read()
        late.cancel()
    took = time.monotonic() - started
    watched.stop()
    _, _, used = os.wait4(child, 0)
    return {
        "ended": words.decode("utf-8", "replace") or f"killed after {seconds:g} s",
        "seconds": took,
        "server_mib": max(0.0, used.ru_maxrss / 1024 - before),
        "guarded_mib": watched.peak_mib,
    }


def _own_memory() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def _answer(folder: Path, way: str, said: int) -> None:
    from lora_engine.errors import EngineError

    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        errors, spoken = os.pipe()
        os.dup2(spoken, 2)
        os.set_blocking(errors, False)
    try:
        with tempfile.TemporaryDirectory() as place:
            ended = f"answered: {str(ways_in(folder, Path(place))[way]())[:40]}"
            sys.stderr.flush()
            with suppress(BlockingIOError):
                ended = f"{ended} {os.read(errors, 4_000).decode()}"
    except EngineError as error:
        ended = f"refused: {error}"
    except SystemExit as error:
        ended = f"exit {error.code}"
        with suppress(BlockingIOError):
            ended = f"{ended} {os.read(errors, 4_000).decode()}"
    except BaseException as error:  # noqa: BLE001 - a fork never returns
        ended = f"crashed: {error!r}"[:500]
    os.write(said, " ".join(ended.split()).encode()[:3_000])
    os._exit(0)


class _Watched:
    """The largest of the processes below one, by what it has in memory, looked at often."""

    def __init__(self, pid: int) -> None:
        self.peak_mib = 0.0
        self._pid, self._is_over = pid, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        import psutil

        while not self._is_over.wait(0.02):
            with suppress(psutil.Error):
                for one in psutil.Process(self._pid).children(recursive=True):
                    with suppress(psutil.Error):
                        self.peak_mib = max(self.peak_mib, one.memory_info().rss / 2**20)

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join()


def main(names: list[str]) -> None:
    import peft  # noqa: F401
    import transformers.models.llama.modeling_llama

    transformers.utils.logging.set_verbosity_error()
    print(f"load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as place:
        for name in names or HOSTILE:
            folder = Path(place) / "model"
            copy_starter(folder)
            HOSTILE[name](folder)
            ways = ways_in(folder, Path(place))
            for way in ways:
                found = asked_in_a_fork(folder, way)
                print(
                    f"{name:32} {way:10} {found['seconds']:6.2f} s "
                    f"{found['server_mib']:5.0f} {found['guarded_mib']:5.0f} MiB  "
                    f"{found['ended'][:140]}",
                    flush=True,
                )
            shutil.rmtree(folder)


if __name__ == "__main__":
    main(sys.argv[1:])
