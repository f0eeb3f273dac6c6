"""How long the dashboard takes from its process's start to its first page, beside bare Gradio.

Both are started as fresh processes by the same Python, in turns, and asked for `/` until the page
comes. The bare app is one Blocks with a Markdown, mounted in FastAPI and served by uvicorn. The
figure is the ratio of the medians, from one run on one machine. Then runs of the starter are
submitted to an engine: how long it takes from there, where a click leads, to the first step, in a
fresh process (cold), in the standby (warm), and in a standby that has the base of the run before it
(warm with base).

    python benchmarks/startup.py [--rounds 5] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import _path  # noqa: F401

from lora_engine.engine import Engine
from lora_engine.environment import load_settings
from lora_engine.runs.states import OVER, RunState
from lora_engine.spec import spec_from

ROOT = Path(__file__).parents[1]
TARGET_RATIO = 1.5
FIRST_STEP_TARGETS_S = {
    "first_step_cold_s": 4.0,
    "first_step_warm_s": 1.0,
    "first_step_with_base_s": 1.0,
}
GIVE_UP_S = 120
BARE = """
import os
import fastapi, gradio as gr, uvicorn
with gr.Blocks() as demo:
    gr.Markdown("# Hello")
app = gr.mount_gradio_app(fastapi.FastAPI(), demo, path="/")
uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="error")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="starts of each, in turns")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    measured = {**measure(options.rounds), **first_steps_s(options.rounds)}
    if options.json:
        print(json.dumps(measured))
        return
    for name in ("bare_gradio_s", "rankscope_s"):
        print(f"{name:16} {measured[name]:6.2f}   each: {measured[f'{name}_each']}")
    print(f"{'ratio':16} {measured['ratio']:6.2f}   target: at most {TARGET_RATIO}")
    for name, target in FIRST_STEP_TARGETS_S.items():
        each = measured[f"{name}_each"]
        print(f"{name:22} {measured[name]:6.2f}   each: {each}   target: at most {target}")


def measure(rounds: int) -> dict[str, object]:
    """Medians in seconds and their ratio; one start of each goes first, uncounted."""
    commands = {"bare_gradio_s": ["-c", BARE], "rankscope_s": ["app.py"]}
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(rounds + 1):
            for name, command in commands.items():
                took = first_page_s(command, Path(folder) / name)
                if turn:  # the first start reads the libraries into the disk cache
                    seconds[name].append(round(took, 3))
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    return {
        **medians,
        **{f"{name}_each": each for name, each in seconds.items()},
        "ratio": medians["rankscope_s"] / medians["bare_gradio_s"],
        "target_ratio": TARGET_RATIO,
    }


def first_steps_s(rounds: int) -> dict[str, object]:
    """Medians in seconds from a run's submission to its first logged step, cold, warm and warm
    with the base in turns; a first run, uncounted, tokenizes the rows and measures the products."""
    cold: list[float] = []
    warm: list[float] = []
    with_base: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LORA_STANDBY_MINUTES"] = "60"
        engine = Engine(load_settings({**os.environ, "LORA_DATA_DIR": folder}))
        engine.start()
        try:
            first_step_s(engine)
            for _ in range(rounds):
                let_standby_go(engine)
                cold.append(first_step_s(engine))
                let_standby_go(engine)
                engine.runs.expect()  # as Train does, which knows no base
                wait_until(engine.has_standby)
                warm.append(first_step_s(engine))
                wait_until(engine.has_standby)
                with_base.append(first_step_s(engine))
        finally:
            engine.stop()
    names = dict(zip(FIRST_STEP_TARGETS_S, (cold, warm, with_base), strict=True))
    return {
        **{name: statistics.median(each) for name, each in names.items()},
        **{f"{name}_each": each for name, each in names.items()},
        "first_step_targets_s": FIRST_STEP_TARGETS_S,
    }


def let_standby_go(engine: Engine) -> None:
    """Let the one go that the run before it is followed by. Without the wait it could be expected
    but not yet there, and start beside the run that is measured."""
    wait_until(engine.has_standby)
    engine.let_standby_go()


def first_step_s(engine: Engine) -> float:
    """Seconds from a run's submission to its first logged step; returns when the run has ended."""
    started = time.time()
    spec = {"optimization": {"max_steps": 1}, "dataset": {"eval_fraction": 0}}
    run = engine.runs.submit(spec_from(spec))
    wait_until(lambda: engine.runs.get(run.id).record.state in OVER)
    if engine.runs.get(run.id).record.state is not RunState.FINISHED:
        raise SystemExit("a run did not finish.")
    logged = engine.runs.directory(run.id).metrics_path.stat().st_mtime
    return round(logged - started, 3)


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + GIVE_UP_S
    while not is_so():
        if time.monotonic() > deadline:
            raise SystemExit("a run, or the standby, did not come about.")
        time.sleep(0.05)


def first_page_s(command: list[str], data_dir: Path) -> float:
    """Seconds from starting `python command` to a whole page at `/`."""
    port = free_port()
    environment = {
        **os.environ,
        "PORT": str(port),
        "HOST": "127.0.0.1",
        "LORA_DATA_DIR": str(data_dir),
        "GRADIO_ANALYTICS_ENABLED": "False",
    }
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
    )
    try:
        while not has_page(port):
            if process.poll() is not None or time.perf_counter() - started > GIVE_UP_S:
                raise SystemExit(f"python {command[0]} served no page.")
            time.sleep(0.01)
        return time.perf_counter() - started
    finally:
        process.terminate()
        process.wait()


def has_page(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=GIVE_UP_S) as answer:
            return b"gradio_config" in answer.read()
    except (URLError, ConnectionError):
        return False


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


if __name__ == "__main__":
    main()
