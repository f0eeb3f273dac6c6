"""Writes docs/architecture.md: the layers, and a map of every module made from its own first line.

Run it as `python docs/make_architecture.py` after a module was added, moved or renamed. A test
compares the page with what this makes, so the map cannot fall behind the tree.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

INTRODUCTION = """# Architecture

Rankscope has two layers and a worker process.

```
app.py ──► pages/ ──► lora_engine/            (never back)
                          │ spec.json
                          ▼
               worker process: python -m lora_engine.training.worker RUN_DIR
```

- **`lora_engine/`** does everything and knows no screen. It never imports Gradio, Plotly or
  anything of `pages/`. The command line and Python use it directly.
- **`pages/`** shows it. A handler reads its inputs, calls one function of the engine and names what
  it changes: `{component: value}`. A page knows no other page; what they share is in
  `pages/shared/`.
- **The worker** trains one run in a process of its own. It reads the run's `spec.json` and writes
  only into the run's directory. The server reads that directory and nothing else from the worker,
  so either may be killed without the other.

`import app` loads no torch, transformers, peft, datasets or scipy. Functions that need them import
them. A linter rule and a test in a fresh process hold this.

The server's start, from its process to the first page, takes 3.4 s where a bare Gradio app takes
2.7: 1.26 times (1.5 is the aim; medians of five rounds in turns by `benchmarks/startup.py`, two
cores, nothing else running). It runs without the garbage collector, describes the pages to Gradio
once, and imports nothing of the training loop. In processor time, where bare Gradio took 3.4:

| part of the start | seconds |
|---|---|
| `app.py`, settings | 0.2 |
| FastAPI and Gradio, imported | 2.3 |
| the engine, imported | 0.5 |
| the pages, imported | 0.2 |
| the seven pages, built | 0.7 |
| described to Gradio and mounted | 0.2 |

## How a run goes

1. The Train page (or `submit`) makes a `RunSpec` from its fields. `lora_engine/spec/` checks all of
   them together and reports every problem with its path.
2. `training/preflight.py` checks the spec against what is here: the model, the data, the targets.
3. `runs/` adds a row to `runs.db` and creates `runs/<id>/` with `spec.json`.
4. The supervisor, a thread of the server, starts a worker when the device is free. The worker holds
   a lock on `runs/<id>/lock` for life; the lock, not a process number, says that it is alive.
5. The worker prepares tokens and plan, loads the base, adds what trains, chooses a forward path
   that it has proven on the model at hand, and runs the loop. It appends to `metrics.jsonl` and
   writes checkpoints whose manifest of hashes is written last.
6. The last thing it writes is `result.json`. A run that ends without one is `interrupted` and can
   be resumed.

## Layers

A package imports only packages below it in this list. `make lint` checks it (import-linter, the
contracts in `pyproject.toml`).

"""

MAP = """
## Map

Every module with its own first line. `python docs/make_architecture.py` writes this page.
"""


def page() -> str:
    """The whole page as Markdown."""
    return "\n".join([INTRODUCTION + _layers(), MAP, *_packages()]) + "\n"


def _layers() -> str:
    """The engine's layers as import-linter checks them, the highest first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    layered = next(
        contract
        for contract in contracts["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers" and "lora_engine.errors" in contract["layers"]
    )
    names = (layer.replace("lora_engine.", "") for layer in layered["layers"])
    return "```\napp\npages\n" + "\n".join(names) + "\n```\n"


def _packages() -> Iterator[str]:
    """A section for each package: what it is for, then its modules."""
    for package in [ROOT / "lora_engine", ROOT / "pages"]:
        for folder in sorted(
            {path.parent for path in package.rglob("*.py") if "__pycache__" not in path.parts}
        ):
            modules = sorted(p for p in folder.glob("*.py") if p.name != "__init__.py")
            yield f"### `{folder.relative_to(ROOT)}/`\n\n{first_line(folder / '__init__.py')}\n"
            if modules:
                rows = (f"| `{path.name}` | {_cell(first_line(path))} |" for path in modules)
                yield "\n".join(["| module | |", "|---|---|", *rows]) + "\n"


def first_line(path: Path) -> str:
    """The first sentence or line of a module's docstring, on one line."""
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    (ROOT / "docs" / "architecture.md").write_text(page(), "utf-8")
