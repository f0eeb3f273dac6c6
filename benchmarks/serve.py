"""Tokens a second of the API: eight clients on four adapters at once, and one after the other.

    python benchmarks/serve.py [--json] [--rounds 3] [--tokens 128] [--device cpu]

Measured through HTTP against a server process (`serve --api`), the two ways by turns within each
round; the ratio is taken round by round and the median shown, so that other work on the machine
weighs on both alike. The model is benchmarks/compare.py's random Llama of 9M parameters, whose
answers run to the full length; every client asks another question.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import _path  # noqa: F401
import compare
import httpx

from lora_engine.base_models import BaseModel, fingerprint

ROOT = Path(__file__).resolve().parents[1]
CLIENTS = 8
ADAPTERS = 4
MUST_REACH = 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    report = endpoint_figure(options.rounds, options.tokens, options.device)
    print(json.dumps(report, indent=2) if options.json else as_text(report))


def endpoint_figure(rounds: int = 3, tokens: int = 128, device: str = "cpu") -> dict:
    """Tokens a second together and one after the other, and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        base = compare.random_llama(data / "models" / "llama-9m")
        names = [save_adapter(data, base, number) for number in range(ADAPTERS)]
        with served(data, base, device) as (address, key):
            clients = [names[number % ADAPTERS] for number in range(CLIENTS)]
            with httpx.Client(
                base_url=address, headers={"Authorization": f"Bearer {key}"}, timeout=600
            ) as client:
                for name in names:
                    ask(client, name, 0, 4)  # loads the base and every adapter
                measured = [one_round(client, clients, tokens) for _ in range(rounds)]
    return {
        "clients": CLIENTS,
        "adapters": ADAPTERS,
        "tokens": tokens,
        "device": device,
        "cores": os.cpu_count(),
        "together_tokens_per_s": statistics.median(one for one, _ in measured),
        "one_after_the_other_tokens_per_s": statistics.median(one for _, one in measured),
        "ratio": statistics.median(together / alone for together, alone in measured),
        "must_reach": MUST_REACH,
    }


def one_round(client: httpx.Client, names: list[str], tokens: int) -> tuple[float, float]:
    """Tokens a second together, and one after the other."""
    started = time.perf_counter()
    alone = sum(ask(client, name, number, tokens) for number, name in enumerate(names))
    between = time.perf_counter()
    with ThreadPoolExecutor(len(names)) as pool:
        answers = [pool.submit(ask, client, name, n, tokens) for n, name in enumerate(names)]
        together = sum(answer.result() for answer in answers)
    ended = time.perf_counter()
    return together / (ended - between), alone / (between - started)


def ask(client: httpx.Client, name: str, number: int, tokens: int) -> int:
    """One answer; how many tokens it has."""
    content = f"Please tell me {number + 2} things about animals, colours and numbers."
    body = {
        "model": name,
        "messages": [{"role": "user", "content": content}],
        "temperature": 0,
        "max_tokens": tokens,
    }
    answer = client.post("/chat/completions", json=body)
    answer.raise_for_status()
    return answer.json()["usage"]["completion_tokens"]


def save_adapter(data: Path, base: BaseModel, number: int) -> str:
    """An adapter in the library; its name."""
    folder = compare.random_adapter(data / "adapters" / f"adapter-{number}", base, number)
    provenance = {"base_model": base.name, "base_fingerprint": fingerprint(base)}
    (folder / "provenance.json").write_text(json.dumps(provenance), "utf-8")
    return folder.name


@contextmanager
def served(data: Path, base: BaseModel, device: str) -> Iterator[tuple[str, str]]:
    """`serve --api` in a process of its own: its address and key."""
    key = secrets.token_urlsafe(32)
    (data / "key").write_text(key, "utf-8")
    command = [sys.executable, "-m", "lora_engine", "serve", "--port", "0", "--api"]
    command += ["--api-key-file", str(data / "key"), "--base", str(base.path)]
    environment = {**os.environ, "LORA_DATA_DIR": str(data), "LORA_DEVICE": device}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        line = next((line for line in process.stdout if "/v1" in line), None)
        if line is None:
            sys.exit("The server did not start.")
        yield line.split()[-1], key
    finally:
        process.terminate()
        process.wait(30)


def as_text(report: dict) -> str:
    return (
        f"{report['clients']} clients on {report['adapters']} adapters, {report['tokens']} tokens "
        f"each, {report['device']}, {report['cores']} cores\n"
        f"  together            {report['together_tokens_per_s']:8.0f} tokens/s\n"
        f"  one after the other {report['one_after_the_other_tokens_per_s']:8.0f} tokens/s\n"
        f"  ratio               {report['ratio']:8.2f}  (at least {report['must_reach']:g})"
    )


if __name__ == "__main__":
    main()
