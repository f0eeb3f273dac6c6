"""How far the compare page lags behind 200 tokens a second in each of two columns, in Chromium.

    python benchmarks/compare_browser.py [--json] [--tokens 128 512] [--rate 200] [--rounds 3]

The real server and the real page, with one stand-in: instead of running the model, each step of
the decode loop waits for its place in time (1 / rate apart) and takes the next token of a prepared
Markdown text with headings, lists and code. Each line of it holds a number. A number's lag is
from the step that gave its last token to the end of the task after the animation frame in which
the browser drew it, both by the machine's one clock. The smallest possible lag is not 0: the
engine reports every 60 ms.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import shutil
import socket
import statistics
import tempfile
import time
import urllib.request
from pathlib import Path

import _path  # noqa: F401
from playwright.sync_api import Page, expect, sync_playwright

from lora_engine.settings import Settings

COLUMNS = 2
TARGET_P95_MS = 250
NUMBER = re.compile(r"n(\d+);")
BLOCK = """## Part n{0};

- one **bold** n{1};
- two `code` n{2};

```python
x = 1  # n{3};
```

"""
WATCH = """(columns) => {
    window.drawn = [];
    const seen = new Array(columns).fill(-1);
    const look = () => {
        requestAnimationFrame(() => {
            const channel = new MessageChannel();
            channel.port1.onmessage = () => {
                const now = performance.timeOrigin + performance.now();
                for (let column = 0; column < columns; column++) {
                    const said = document.querySelector(`#column-${column}`).textContent;
                    const numbers = [...said.matchAll(/n(\\d+);/g)].map((found) => +found[1]);
                    const newest = numbers.length ? Math.max(...numbers) : -1;
                    for (let n = seen[column] + 1; n <= newest; n++) {
                        window.drawn.push([column, n, now]);
                    }
                    seen[column] = Math.max(seen[column], newest);
                }
            };
            channel.port2.postMessage(0);
            look();
        });
    };
    look();
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--tokens", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    report = {"rate": options.rate, "target_p95_ms": TARGET_P95_MS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        process, url = served(folder, options.rate)
        try:
            with sync_playwright() as playwright:
                found = shutil.which("chromium") or shutil.which("google-chrome")
                browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
                for tokens in (min(options.tokens), *options.tokens):  # the first loads the model
                    rounds = [
                        one_answer(browser, url, folder, tokens) for _ in range(options.rounds)
                    ]
                    report[f"{tokens} tokens"] = summed(rounds)
                browser.close()
        finally:
            process.terminate()
            process.join()
    report["load_average"] = os.getloadavg()[0]
    print(json.dumps(report) if options.json else as_table(report))


def one_answer(browser, url: str, folder: Path, tokens: int) -> dict[str, list[float]]:
    """The lags in ms of one answer, column after column, and those of the last numbers."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{url}/compare")
    expect(page.get_by_label("Your question")).to_be_enabled(timeout=60_000)
    page.get_by_role("tab", name="Settings").click()
    page.get_by_label("Token limit").fill(str(tokens))
    page.get_by_role("tab", name="Answers").click()
    page.evaluate(WATCH, COLUMNS)
    page.get_by_label("Your question").fill("Go on.")
    page.get_by_role("button", name="Ask", exact=True).click()
    page.locator("#compare-status .rs-badge").wait_for(timeout=20_000)
    lags = lags_of(page, json.loads((folder / "emitted.json").read_text()))
    page.close()
    return lags


def lags_of(page: Page, emitted: list[float]) -> dict[str, list[float]]:
    """emitted: when each number was whole, in seconds of the clock."""
    drawn = {(column, number): at for column, number, at in page.evaluate("window.drawn")}
    lags = {
        key: drawn[key] - 1000 * at
        for number, at in enumerate(emitted)
        for key in [(column, number) for column in range(COLUMNS)]
    }
    last = [lags[column, len(emitted) - 1] for column in range(COLUMNS)]
    return {"lags": list(lags.values()), "last": last}


def summed(rounds: list[dict[str, list[float]]]) -> dict[str, float]:
    lags = [lag for one in rounds for lag in one["lags"]]
    return {
        "median_ms": statistics.median(lags),
        "p95_ms": statistics.quantiles(lags, n=20)[-1],
        "largest_ms": max(lags),
        "final_ms": max(lag for one in rounds for lag in one["last"]),
        "numbers": len(lags),
    }


def served(folder: Path, rate: float) -> tuple[multiprocessing.Process, str]:
    """A dashboard with one random adapter, in a process of its own."""
    from compare import random_adapter

    from lora_engine.base_models import BaseModel
    from lora_engine.starter import MODEL_DIR

    random_adapter(folder / "adapters" / "noisy", BaseModel("starter", MODEL_DIR), 1)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    spawning = multiprocessing.get_context("spawn")
    process = spawning.Process(target=serve, args=(port, folder, rate), daemon=True)
    process.start()
    url = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{url}/healthz", timeout=2).close()
            return process, url
        except OSError:
            time.sleep(0.2)
    process.terminate()
    raise SystemExit("the server did not start")


def serve(port: int, folder: Path, rate: float) -> None:
    """Serve the dashboard with the stand-in for the model's steps."""
    import uvicorn

    import app
    from lora_engine.compare.generate import shared_base
    from lora_engine.generation.decode import DecodeBatch

    shared_base.context_length = lambda config: None
    steps = Steps(folder, rate)
    DecodeBatch.advance = lambda batch: steps.advance(batch)
    settings = Settings(data_dir=folder, models_dir=folder / "models", device="cpu")
    uvicorn.run(app.create_app(settings), port=port, log_config=None)


class Steps:
    """The stand-in: gives every row the next token of the text when its time has come."""

    def __init__(self, folder: Path, rate: float) -> None:
        from lora_engine.base_models import load_tokenizer, resolve_base_model

        settings = Settings(data_dir=folder, models_dir=folder / "models", device="cpu")
        self._tokenizer = load_tokenizer(resolve_base_model("starter", settings))
        blocks = (BLOCK.format(*range(4 * part, 4 * part + 4)) for part in range(200))
        self._tokens = self._tokenizer("".join(blocks), add_special_tokens=False)["input_ids"]
        self._folder = folder
        self._step_s = 1 / rate
        self._times: list[float] = []

    def advance(self, batch) -> bool:
        if not batch.rows[0].tokens:
            self._began, self._times = time.perf_counter(), []
        step = len(self._times)
        time.sleep(max(0.0, self._began + step * self._step_s - time.perf_counter()))
        self._times.append(time.time())
        batch._record([self._tokens[step]] * len(batch.rows))
        ended = bool(batch.rows[0].finished)
        if ended:
            self._write()
            batch.rows = []
        return ended

    def _write(self) -> None:
        """When each number of the text was whole."""
        decoded = [
            self._tokenizer.decode(self._tokens[: end + 1]) for end in range(len(self._times))
        ]
        whole = [len(NUMBER.findall(text)) for text in decoded]
        times = [
            next(at for count, at in zip(whole, self._times, strict=True) if count > number)
            for number in range(whole[-1])
        ]
        (self._folder / "emitted.json").write_text(json.dumps(times))


def as_table(report: dict) -> str:
    lines = [
        f"{report['rate']:g} tokens a second in each of {COLUMNS} columns, "
        f"load average {report['load_average']:.1f}"
    ]
    for name, one in report.items():
        if isinstance(one, dict):
            lines.append(
                f"{name:12} the screen lags {one['median_ms']:.0f} ms (median), 95 % below "
                f"{one['p95_ms']:.0f} ms, at most {one['largest_ms']:.0f} ms; at the end "
                f"{one['final_ms']:.0f} ms; {one['numbers']} numbers"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
