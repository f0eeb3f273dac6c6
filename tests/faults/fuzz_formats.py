"""The formats that the fuzzer tries: good files of each, how they are mutated, and the ways in.

A way in is a call that answers or raises EngineError, as the pages and the command line make it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from lora_engine.settings import Settings
from tests.faults import fuzz_files as files
from tests.faults import fuzz_mutations as mutations

Way = Callable[[], object]
PROMPT_ENDINGS = (".jsonl", ".csv", ".tsv", ".txt")
CHECKED_ROWS = 300
RUN, SESSION = "20260101-000000-abcd", "A" * 22


@dataclass(frozen=True)
class Format:
    """share: how often it is tried beside the others; those that start a process are dear."""

    name: str
    files: Sequence[bytes]
    mutate: mutations.Mutation
    ways: Callable[[bytes, Path], Iterator[Way]]
    share: int = 4


def all_formats(home: Path, canary: str) -> list[Format]:
    """home: a folder for the good models. canary: the file that no mutation may touch."""
    base = files.base_model(home / "base")
    files.plant_code(base, canary)
    adapter = files.adapter(home / "adapter", base)
    rows_file = home / "rows.jsonl"
    rows_file.write_bytes(files.rows(".jsonl")[0])
    of_json = mutations.of_json(canary)
    return [
        *_data(of_json, canary, base),
        *_weights(canary),
        *_adapters(adapter, of_json, canary),
        *_bases(base, rows_file, of_json, canary),
        *_documents(base, rows_file, of_json, canary),
        *_runs(base, rows_file, of_json, canary),
    ]


def settings_in(folder: Path) -> Settings:
    return Settings(data_dir=folder / "data", models_dir=folder / "data" / "models", device="cpu")


def _data(of_json: mutations.Mutation, canary: str, base: Path) -> Iterator[Format]:
    lines = mutations.of_json_lines(canary)
    how = {
        ".json": of_json, ".jsonl": lines, ".csv": mutations.of_lines, ".tsv": mutations.of_lines,
        ".txt": mutations.of_lines, ".parquet": mutations.of_bytes,
    }  # fmt: skip
    how |= {f"{end}.gz": mutations.of_gzip(how[end]) for end in (".json", ".jsonl", ".csv", ".txt")}
    for ending, mutate in how.items():
        ways = partial(_as_dataset, ending, base)
        yield Format(f"rows{ending}", files.rows(ending), mutate, ways)


def _as_dataset(ending: str, base: Path, content: bytes, folder: Path) -> Iterator[Way]:
    from lora_engine.data import load_dataset
    from lora_engine.data.checks import check_dataset
    from lora_engine.data.sources import first_records
    from lora_engine.data.uploads import list_datasets, save_upload
    from lora_engine.spec import DatasetSpec

    settings = settings_in(folder)
    given = _file(folder / f"rows{ending}", content)
    yield lambda: save_upload(given, given.name, settings)
    for name in (path.name for path in settings.datasets_dir.glob("[!.]*")):
        spec = DatasetSpec(source=name)
        yield lambda spec=spec: first_records(spec, settings, 5)
        yield lambda spec=spec: check_dataset(_beginning(load_dataset(spec, settings)))
    yield lambda: list_datasets(settings)
    if ending in PROMPT_ENDINGS:
        yield lambda: _prompts(given)


def _beginning(dataset: Any) -> Any:
    """The check of a set goes through all its text in the background; here its first rows do."""
    return replace(dataset, rows=tuple(islice(dataset.rows, CHECKED_ROWS)))


def _prompts(path: Path) -> object:
    from lora_engine.compare.prompts import read_cases

    return [case.as_line() for case in read_cases(path)]


def _weights(canary: str) -> Iterator[Format]:
    how = {
        ".safetensors": mutations.of_safetensors(canary), ".npy": mutations.of_bytes,
        ".npz": mutations.of_zip({".npy": mutations.of_bytes}), ".csv": mutations.of_lines,
        ".pt": mutations.of_zip({".pkl": mutations.of_bytes}), ".png": mutations.of_png,
        ".jpg": mutations.of_bytes,
    }  # fmt: skip
    for ending, mutate in how.items():
        found = files.weights(ending, canary)
        share = 1 if ending == ".pt" else 4
        if ending == ".pt":
            mutate = partial(_zip_or_bytes, mutate)
        yield Format(f"matrix{ending}", found, mutate, partial(_as_matrix, ending), share)


def _zip_or_bytes(of_zip: mutations.Mutation, content: bytes, others: Any, rng: Any) -> bytes:
    mutate = of_zip if content.startswith(b"PK") else mutations.of_bytes
    return mutate(content, others, rng) if rng.random() < 0.9 else content


def _as_matrix(ending: str, content: bytes, folder: Path) -> Iterator[Way]:
    import numpy as np

    from lora_engine.weights import list_tensors, open_matrix
    from lora_engine.weights.matrix import to_array

    path = _file(folder / f"m{ending}", content)
    names: list[str] = []

    def read(name: str) -> None:
        if not np.isfinite(to_array(open_matrix(path, name))).all():
            raise AssertionError(f"{name} is not finite")

    yield lambda: names.extend(info.name for info in list_tensors(path)[:2])
    yield from (partial(read, name) for name in names)


def _adapters(folder: Path, of_json: mutations.Mutation, canary: str) -> Iterator[Format]:
    how = {
        "adapter_config.json": of_json,
        "adapter_model.safetensors": mutations.of_safetensors(canary),
        "provenance.json": of_json,
    }
    for name, mutate in how.items():
        good = [(folder / name).read_bytes()]
        yield Format(f"adapter/{name}", good, mutate, partial(_as_adapter, folder, name))
    archive = mutations.zipped([(path.name, path.read_bytes()) for path in folder.iterdir()])
    yield Format("adapter.zip", [archive], mutations.of_zip(how), _as_zipped_adapter)


def _as_adapter(good: Path, name: str, content: bytes, folder: Path) -> Iterator[Way]:
    from lora_engine.adapters.library import AdapterLibrary
    from lora_engine.compare.prompts import sampled_answers, suggested_prompts, training_spec_of
    from lora_engine.spectrum import read_adapter

    broken = files.copied(good, folder / "a", name, content)
    library = AdapterLibrary(settings_in(folder))
    shown = str(broken)
    yield lambda: library.add(shown)
    yield lambda: (library.list(), library.unreadable())
    yield lambda: library.details(shown)
    yield lambda: library.loading_code(shown)
    yield lambda: read_adapter(broken)
    yield lambda: sampled_answers([broken])
    yield lambda: suggested_prompts([broken])
    yield lambda: training_spec_of(broken)


def _as_zipped_adapter(content: bytes, folder: Path) -> Iterator[Way]:
    from lora_engine.adapters.library import AdapterLibrary

    path = _file(folder / "a.zip", content)
    library = AdapterLibrary(settings_in(folder))
    yield lambda: library.add_upload(path, path.name)


def _bases(
    base: Path, rows_file: Path, of_json: mutations.Mutation, canary: str
) -> Iterator[Format]:
    index = {
        "weight_map": dict.fromkeys(["model.norm.weight", "lm_head.weight"], "model.safetensors")
    }
    how: dict[str, tuple[bytes | None, mutations.Mutation, int]] = {
        "config.json": (None, of_json, 3),
        "generation_config.json": (None, of_json, 1),
        "tokenizer.json": (None, of_json, 2),
        "tokenizer_config.json": (None, of_json, 2),
        "chat_template.jinja": (None, partial(_template, canary), 2),
        "model.safetensors": (None, mutations.of_safetensors(canary), 2),
        "model.safetensors.index.json": (json.dumps(index).encode(), of_json, 2),
    }
    for name, (content, mutate, share) in how.items():
        good = [(base / name).read_bytes() if content is None else content]
        ways = partial(_as_base, base, rows_file, name)
        yield Format(f"base/{name}", good, mutate, ways, share)


TEMPLATES = [
    "{% for i in range(10**9) %}x{% endfor %}", "{{ 'a' * 10**9 }}", "{% macro f() %}{{ f() }}"
    "{% endmacro %}{{ f() }}", "{{ messages[0]['content'].__class__.__mro__ }}", "{{ 1 / 0 }}",
    "{% set n = namespace(a='a') %}{% for i in range(99) %}{% set n.a = n.a ~ n.a %}{% endfor %}",
    "{{ raise_exception('no') }}", "{% include '/etc/passwd' %}", "{{ " + "(" * 5_000, "{#",
    "{{ messages | map(attribute='__class__') | list }}", "{{ ('%' ~ 10**8 ~ 'd') % 1 }}",
    "{{ cycler.__init__.__globals__.os.popen('touch CANARY').read() }}",
    "{{ lipsum.__globals__['os'].system('touch CANARY') }}",
    "{{ messages.append.__self__.__class__.__base__.__subclasses__() }}",
]  # fmt: skip


def _template(canary: str, content: bytes, others: Sequence[bytes], rng: Any) -> bytes:
    """The template with another's text in it, or its bytes mutated."""
    if rng.random() < 0.5:
        place = rng.choice([0, len(content)])
        more = rng.choice(TEMPLATES).replace("CANARY", canary).encode()
        return content[:place] + more + content[place:]
    return mutations.of_bytes(content, others, rng)


def _as_base(good: Path, rows_file: Path, name: str, content: bytes, folder: Path) -> Iterator[Way]:
    import torch

    from lora_engine.base_models import (
        fingerprint,
        list_base_models,
        load_base_model,
        load_tokenizer,
        resolve_base_model,
    )  # fmt: skip
    from lora_engine.calculator import count_model
    from lora_engine.calculator.named_model import named_source
    from lora_engine.data.preview_rows import preview
    from lora_engine.spec import MethodSpec
    from lora_engine.training.preflight import check_run
    from tests.training_runs import tiny_spec

    settings = settings_in(folder)
    broken = files.copied(good, settings.models_dir / "m", name, content)
    spec = tiny_spec(broken, rows_file)

    def base() -> Any:
        return resolve_base_model(str(broken), settings)

    yield lambda: list_base_models(settings)
    yield lambda: fingerprint(base())
    yield lambda: check_run(spec, settings)
    if "config.json" in name:
        yield lambda: count_model(named_source(str(broken), settings), MethodSpec(rank=2))
    if "token" in name or "template" in name:
        yield lambda: preview(spec.dataset, load_tokenizer(base()), 64, 2, settings, base())
    else:
        yield lambda: load_base_model(base(), "cpu", torch.float32)


def _documents(
    base: Path, rows_file: Path, of_json: mutations.Mutation, canary: str
) -> Iterator[Format]:
    from lora_engine.access.people_file import add_person

    check = partial(_as_spec, base)
    yield Format("spec.json", [files.spec(base, rows_file)], of_json, check)
    yield Format("sweep.json", [files.sweep(base, rows_file)], of_json, _as_sweep)
    yield Format("session.json", [_session()], of_json, _as_session)
    prompts = [b'{"prompt": "Hello", "expected": "Aye"}\n"Only text"\n', files.rows(".jsonl")[0]]
    lines = mutations.of_json_lines(canary)
    yield Format("prompts.jsonl", prompts, lines, _as_prompts)
    people = rows_file.with_name("people.txt")
    for name, role in (("ana", "manage"), ("ben", "see")):
        add_person(people, name, role, "correct horse battery")
    yield Format("people.txt", [people.read_bytes()], mutations.of_lines, _as_people, 2)


def _as_spec(base: Path, content: bytes, folder: Path) -> Iterator[Way]:
    from lora_engine.spec import parse_spec, read_spec
    from lora_engine.training.preflight import check_run

    path = _file(folder / "spec.json", content)
    yield lambda: parse_spec(content)
    yield lambda: check_run(read_spec(path), settings_in(folder))


def _as_sweep(content: bytes, folder: Path) -> Iterator[Way]:
    from lora_engine.spec import parse_sweep

    yield lambda: parse_sweep(content).children()


def _session() -> bytes:
    from lora_engine.compare.sessions import Session

    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "*Aye*"}]
    column = {"name": "base", "title": "Base", "turns": turns}
    document = {
        "base": "starter", "base_fingerprint": "f" * 16, "columns": [column, column],
        "server": {"url": "http://127.0.0.1:1", "model": "m"},
    }  # fmt: skip
    return Session.model_validate(document).as_json().encode()


def _as_session(content: bytes, folder: Path) -> Iterator[Way]:
    from lora_engine.compare.sessions import SessionStore, as_markdown

    _file(folder / f"{SESSION}.json", content)
    store = SessionStore(folder)
    yield lambda: as_markdown(store.load(SESSION))
    yield lambda: store.save(store.load(SESSION))


def _as_prompts(content: bytes, folder: Path) -> Iterator[Way]:
    yield lambda: _prompts(_file(folder / "prompts.jsonl", content))
    yield lambda: _prompts(_file(folder / "prompts.txt", content))


def _as_people(content: bytes, folder: Path) -> Iterator[Way]:
    from lora_engine.access.people_file import PeopleFile

    path = _file(folder / "people.txt", content)
    path.chmod(0o600)
    people = PeopleFile(path)
    yield lambda: people.checked("ana", "wrong password", "127.0.0.1")


def _runs(
    base: Path, rows_file: Path, of_json: mutations.Mutation, canary: str
) -> Iterator[Format]:
    lines = mutations.of_json_lines(canary)
    spec = files.spec(base, rows_file)
    yield Format("run/spec.json", [spec], of_json, partial(_as_run, spec, "spec.json"), 2)
    for name, good, mutate in (
        ("metrics.jsonl", _metrics(), lines),
        ("result.json", _result(), of_json),
        ("samples.jsonl", _samples(), lines),
        ("updates.jsonl", _updates(), lines),
        ("worker.json", WORKER, of_json),
    ):
        yield Format(f"run/{name}", [good], mutate, partial(_as_run, spec, name), 2)


WORKER = b'{"worker": {"pid": 1, "started": 5, "boot": "b"}, "lock_inode": 9}'


def _metrics() -> bytes:
    from lora_engine.run_folder import MetricsRow

    row = MetricsRow(
        seq=1, step=1, epoch=0.1, loss=2.5, learning_rate=1e-4, grad_norm=1.0, tokens=64,
        tokens_per_s=9.5, elapsed_s=0.5, memory_bytes=10**6, total_steps=9, eval_loss=2.25,
    )  # fmt: skip
    found = [row.model_copy(update={"seq": n, "step": n}) for n in range(1, 10)]
    return b"".join(one.model_dump_json().encode() + b"\n" for one in found)


def _result() -> bytes:
    from lora_engine.run_folder import RunProblem, RunResult

    failed = RunResult.failed(RunProblem(problem="It broke.", remedy="Mend it."))
    return failed.model_dump_json().encode()


def _samples() -> bytes:
    row = {"step": 0, "prompt": "Hi", "text": "Hello", "finished": True}
    return b"".join(json.dumps(row | {"step": n}).encode() + b"\n" for n in (0, 5, 9))


def _updates() -> bytes:
    module = {"name": "q_proj", "frobenius_norm": 0.5, "effective_rank": 1.5}
    return json.dumps({"step": 5, "modules": [module]}).encode() + b"\n"


def _as_run(spec: bytes, name: str, content: bytes, folder: Path) -> Iterator[Way]:
    from lora_engine.engine import Engine
    from lora_engine.run_folder import read_classes, read_samples, read_updates
    from lora_engine.runs.store import RunStore
    from lora_engine.runs.submission import queue_runs
    from lora_engine.spec import parse_spec

    settings = settings_in(folder)
    settings.data_dir.mkdir()
    queue_runs({RUN: parse_spec(spec)}, RunStore(settings.database_path), settings)
    _file(settings.runs_dir / RUN / name, content)
    engine = Engine(settings)
    directory = engine.runs.directory(RUN)
    yield lambda: (engine.runs.list(), engine.sweeps.list())
    yield lambda: (engine.runs.get(RUN).seconds_left, engine.runs.stall(RUN))
    yield lambda: (engine.runs.curve(RUN), engine.runs.metrics(RUN), engine.runs.files(RUN))
    yield lambda: [list(map(str, read(directory))) for read in (read_samples, read_updates)]
    yield lambda: read_classes(directory)
    yield lambda: engine.adapters.list()
    yield lambda: (engine.runs.shell_command(RUN), engine.runs.log_tail(RUN))
    yield directory.spec
    yield directory.result


def _file(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.rmtree(path)
    path.write_bytes(content)
    return path
