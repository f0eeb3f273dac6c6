"""A storage between a run's folder and its Ray job, for tests: what fills it, what lies in it."""

from __future__ import annotations

import errno

from fsspec.implementations.local import LocalFileSystem

from lora_engine.run_folder import RunDirectory, RunProblem, RunResult

ENDED = RunResult.failed(RunProblem(problem="The rows are empty.", remedy="Give others."))


class FullDisk(LocalFileSystem):
    """Takes so many more files, and of the next one a part."""

    cachable = False

    def __init__(self) -> None:
        super().__init__(auto_mkdir=True)
        self.left = 1_000_000

    def pipe_file(self, path, value, **_):
        if self.left == 0:
            super().pipe_file(path, value[: len(value) // 2])
            raise OSError(errno.ENOSPC, "No space left on device", path)
        self.left -= 1
        super().pipe_file(path, value)


def write_checkpoint(directory: RunDirectory, step: int, content: bytes) -> None:
    folder = directory.checkpoints_path / f"step-{step}"
    folder.mkdir(parents=True)
    (folder / "trained.safetensors").write_bytes(content)
    (folder / "manifest.json").write_text(
        '{"identity": {"spec_hash": "", "data_hash": "", "base_fingerprint": ""}, "files": {}}'
    )


def steps(directory: RunDirectory) -> set[str]:
    return {path.parent.name for path in directory.checkpoints_path.glob("step-*/manifest.json")}


def newest(directory: RunDirectory) -> int:
    return max(int(name.removeprefix("step-")) for name in steps(directory))
