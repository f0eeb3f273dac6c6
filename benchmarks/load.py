"""What watching costs the training, how quickly many are answered, and what an idle server burns.

    python benchmarks/load.py [--json] [--only idle,tabs,chromium,chats,growth] [--rounds 2]
                              [--seconds 12]

A real server on two cores, its client on the same ones. `tabs`: a run trains on the starter while
50 and 200 tabs watch it, each as the page's script does and with nothing drawn. `chromium`: one
tab of a real browser, which draws. Each window of time under a load is set against those without
any before and after it, in the same run, by the worker's own clock. `idle`: the processor time of
a server that a page was opened on and nobody asks. `chats`: twenty answers asked for at once
through the API, beside the same answers as one batch. `growth`: resident memory before and after
10,000 requests of every kind. The first four take some six minutes, `growth` alone ten.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import _path  # noqa: F401
import psutil
from _load_chats import chats
from _load_requests import growth
from _load_tabs import Answers, watching
from _load_training import Training, processor_seconds, server_process, slowdown, trained
from _server import served
from playwright.sync_api import sync_playwright

PARTS = ("idle", "tabs", "chromium", "chats", "growth")
TABS = (50, 200)
IDLE_S = 20
WARM, REQUESTS = 2_000, 10_000
LIMITS = {
    "idle_share": 0.01,
    "tabs_50_p95_s": 0.3,
    "tabs_50_errors": 0,
    "tabs_50_slowdown": 0.10,
    "tabs_200_p95_s": 1.0,
    "chromium_slowdown": 0.15,
    "chats_ratio": 1.3,
    "growth_mib": 20,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, by commas")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=12, help="of a window")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the run and the server end too
    parts = options.only.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    found: dict[str, float] = {}
    details: dict[str, dict] = {}
    began = time.monotonic()
    if {"idle", "growth"} & set(parts):
        _on_a_server_that_trains_nothing(parts, found, details)
    if {"tabs", "chromium"} & set(parts):
        _on_a_server_that_trains(parts, options, found, details)
    if "chats" in parts:
        details["chats"] = chats(options.rounds + 1)
        found["chats_ratio"] = details["chats"]["ratio"]
    report = {
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "seconds": time.monotonic() - began,
        "found": found,
        "limits": LIMITS,
        "details": details,
    }
    print(json.dumps(report, indent=1) if options.json else as_text(report))


def _on_a_server_that_trains_nothing(parts: list[str], found: dict, details: dict) -> None:
    with tempfile.TemporaryDirectory() as name, served(Path(name)) as url:
        server = server_process()
        if "idle" in parts:
            found["idle_share"] = idle_share(url, server)
        if "growth" in parts:
            details["growth"] = growth(url, server, WARM, REQUESTS)
            found["growth_mib"] = details["growth"]["grown_mib"]


def _on_a_server_that_trains(
    parts: list[str], options: argparse.Namespace, found: dict, details: dict
) -> None:
    with tempfile.TemporaryDirectory() as name, trained(Path(name)) as training:
        if "tabs" in parts:
            details["tabs"] = tabs(training, options.seconds, options.rounds)
            for count, one in details["tabs"].items():
                found |= {f"tabs_{count}_{key}": one[key] for key in ("p95_s", "slowdown")}
                found[f"tabs_{count}_errors"] = len(one["errors"])
        if "chromium" in parts:
            details["chromium"] = chromium(training, options.seconds, options.rounds)
            found["chromium_slowdown"] = details["chromium"]["slowdown"]


def idle_share(url: str, server: psutil.Process) -> float:
    """Of one core, in the server's own process, some seconds after a page was opened."""
    for path in ("/runs", "/config"):
        urllib.request.urlopen(f"{url}{path}", timeout=30).close()  # noqa: S310
    time.sleep(5)
    before = processor_seconds(server)
    time.sleep(IDLE_S)
    return (processor_seconds(server) - before) / IDLE_S


def tabs(training: Training, seconds: float, rounds: int) -> dict:
    """By how many tabs watch: their answers, and by how much slower the run trains."""
    answers = {count: Answers() for count in TABS}
    used = dict.fromkeys(TABS, 0.0)

    @contextmanager
    def load(count: int) -> Iterator[None]:
        before = training.server.cpu_times()
        began = time.monotonic()
        with watching(training.url, training.run_id, count, answers[count]):
            yield
        after = training.server.cpu_times()
        busy = after.user + after.system - before.user - before.system
        used[count] = busy / (time.monotonic() - began)

    loads = [lambda count=count: load(count) for count in TABS]
    slower = slowdown(training, seconds, rounds, loads)
    return {
        count: {
            "requests": len(answers[count].seconds),
            "with_news": answers[count].new,
            "megabytes": answers[count].bytes / 1e6,
            "p50_s": answers[count].percentile(0.5),
            "p95_s": answers[count].percentile(0.95),
            "errors": answers[count].errors,
            "server_share_of_a_core": used[count],
            "slowdown": slower[number],
        }
        for number, count in enumerate(TABS)
    }


def chromium(training: Training, seconds: float, rounds: int) -> dict:
    """One tab on the run that trains, in a window of 1280 by 800."""
    used: list[float] = []
    with sync_playwright() as playwright:
        found = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])

        @contextmanager
        def load() -> Iterator[None]:
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.goto(f"{training.url}/runs?run={training.run_id}")
            page.wait_for_function(
                "document.querySelector('#loss-curve .rs-plot')?.data?.length > 0", timeout=60_000
            )
            before, began = _of_browsers(), time.monotonic()
            yield
            used.append((_of_browsers() - before) / (time.monotonic() - began))
            page.close()

        (slower,) = slowdown(training, seconds, rounds, [load])
        version = browser.version
        browser.close()
    return {"slowdown": slower, "browser_share_of_a_core": max(used), "chromium": version}


def _of_browsers() -> float:
    """What the browser that this process has started has used of a core so far."""
    own = psutil.Process().children(recursive=True)
    times = [one.cpu_times() for one in own if "chrom" in one.name()]
    return sum(one.user + one.system for one in times)


def as_text(report: dict) -> str:
    lines = [
        f"{report['cores']} cores, load average {report['load_average']:.1f}, "
        f"{report['seconds']:.0f} s",
        f"{'':22}{'found':>10}{'at most':>10}",
    ]
    for name, value in report["found"].items():
        limit = report["limits"].get(name)
        told = "" if limit is None else f"{limit:10.3g}"
        over = "" if limit is None or value <= limit else "  over"
        lines.append(f"{name:22}{value:10.3g}{told}{over}")
    for part, details in report["details"].items():
        lines.append(f"{part}: {json.dumps(details)}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
