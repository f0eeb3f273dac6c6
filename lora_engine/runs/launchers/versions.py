"""The packages that a run's numbers depend on: their versions here, and where a node's differ.

The machine that sends a job names its own with it; the job says in the run's log which are others
on its node. Knows no cluster.
"""

from __future__ import annotations

import argparse
import importlib.metadata
from collections.abc import Mapping, Sequence

from lora_engine.run_folder import RunDirectory

NEEDED = ("torch", "transformers", "peft", "safetensors", "numpy", "scipy")
OPTION = "--sent-with"
OTHER_VERSIONS = "Versions of the node (and of the machine that sent the run), losses may differ:"


def packages_here() -> dict[str, str]:
    """The version of each needed package that is installed, without the build (+cpu, +cu128)."""
    found = {}
    for name in NEEDED:
        try:
            found[name] = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def versions_as_arguments() -> list[str]:
    """What a job is told of the versions here."""
    told = [[OPTION, f"{name}={version}"] for name, version in packages_here().items()]
    return [word for pair in told for word in pair]


def add_versions(parser: argparse.ArgumentParser) -> None:
    """The option of a job that takes what `versions_as_arguments` tells, as `sent_with`."""
    parser.add_argument(OPTION, action="append", default=[], metavar="PACKAGE=VERSION")


def other_versions(sent_with: Sequence[str]) -> str:
    """The packages that are others here than on the machine that sent the job; empty for none."""
    here, sent = packages_here(), _versions(sent_with)
    return ", ".join(
        f"{name} {here[name]} ({version})"
        for name, version in sent.items()
        if name in here and here[name] != version
    )


def log_other_versions(directory: RunDirectory, others: str) -> None:
    """Say in the run's log what `other_versions` found; nothing where that is nothing."""
    if others:
        with directory.log_path.open("a", encoding="utf-8") as log_file:
            log_file.write(f"{OTHER_VERSIONS} {others}\n")


def _versions(sent_with: Sequence[str]) -> Mapping[str, str]:
    return dict(one.split("=", 1) for one in sent_with if "=" in one)
