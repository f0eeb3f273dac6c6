"""What differs between Linux and macOS stands in one module, and both ways do what they say."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lora_engine import operating_system
from lora_engine.devices import pick_device
from lora_engine.errors import EngineError
from lora_engine.settings import Settings
from lora_engine.training.compatibility import Machine, unavailable_choices

ENGINE = Path(operating_system.__file__).parent
MIB = 1 << 20
ONE_SYSTEM_ONLY = re.compile(r"^\s*(?:import|from) (?:fcntl|resource)\b|[\"']/proc/", re.MULTILINE)


def sleeping() -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])


def test_no_other_module_asks_what_only_one_system_has():
    elsewhere = [
        path.relative_to(ENGINE)
        for path in ENGINE.rglob("*.py")
        if path.name != "operating_system.py" and ONE_SYSTEM_ONLY.search(path.read_text())
    ]
    assert elsewhere == []


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx512f avx512_bf16 gfni", True),
        ("fpu amx_bf16 amx_tile", True),
        ("fpu avx512f", False),
    ],
)
def test_the_processor_says_what_it_multiplies(tmp_path, monkeypatch, flags, expected):
    listing = tmp_path / "cpuinfo"
    listing.write_text(f"processor\t: 0\nmodel name\t: x amx_bf16\nflags\t\t: {flags}\n\n")
    monkeypatch.setattr(operating_system, "PROCESSOR_LISTING", listing)
    assert operating_system.has_fast_bfloat16() is expected
    monkeypatch.setattr(operating_system, "IS_LINUX", False)
    assert not operating_system.has_fast_bfloat16()


def test_a_lock_keeps_out_all_but_those_who_share_it(tmp_path):
    first, second = (os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT) for _ in range(2))
    try:
        operating_system.lock(first, shared=True)
        assert operating_system.try_lock(second, shared=True)
        assert not operating_system.try_lock(second)
        os.close(first)
        assert operating_system.try_lock(second)
    finally:
        os.close(second)


@pytest.mark.parametrize("is_linux", [True, False])
def test_a_process_is_told_from_another_of_its_number(monkeypatch, is_linux):
    monkeypatch.setattr(operating_system, "IS_LINUX", is_linux)
    process = sleeping()
    try:
        started = operating_system.process_start(process.pid)
        assert started == operating_system.process_start(process.pid)
        assert started != operating_system.process_start(os.getpid())
    finally:
        process.kill()
        process.wait()
    with pytest.raises(ProcessLookupError):
        operating_system.process_start(process.pid)


def test_a_stopped_process_is_known_as_that():
    process = sleeping()
    try:
        assert not operating_system.is_stopped(process.pid)
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        assert operating_system.is_stopped(process.pid)
    finally:
        process.kill()
        process.wait()
    assert not operating_system.is_stopped(process.pid)


def test_a_child_that_grows_is_ended_where_the_system_holds_no_limit():
    pid = os.fork()
    if pid == 0:
        kept = []
        for _ in range(100):  # it goes on growing, whenever it is first looked at
            kept.append(bytearray(b"1") * (10 * MIB))
            time.sleep(0.1)
        os._exit(0)
    ended = operating_system.wait_for_child(pid, 50 * MIB, watch=True)
    assert ended == -signal.SIGKILL


@pytest.mark.parametrize("watch", [True, False])
def test_a_child_that_ends_by_itself_says_its_code(watch):
    pid = os.fork()
    if pid == 0:
        os._exit(3)
    assert operating_system.wait_for_child(pid, 50 * MIB, watch=watch) == 3


def test_an_apple_gpu_is_refused_where_there_is_none_and_takes_no_quantized_base():
    with pytest.raises(EngineError) as refused:
        pick_device(Settings(device="mps"))
    assert "LORA_DEVICE" in refused.value.problem
    machine = Machine(has_gpu=False, packages=frozenset({"bitsandbytes"}), is_mps=True)
    assert set(unavailable_choices(machine)["quantization.bits"]) == {"4", "8"}
