"""What differs between Linux and macOS: locks, processes, limits of memory. Nothing else asks.

`fcntl`, `resource` and files under /proc are used here and nowhere else in the engine; what psutil
tells alike on both comes from psutil. Knows nothing of what is locked, started or limited. Windows
is served through WSL, which is Linux.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import signal
import sys
import time
from pathlib import Path

IS_LINUX = sys.platform == "linux"
NVIDIA_DRIVER_LISTING = Path("/proc/driver/nvidia/gpus")
"""One entry a card, where the NVIDIA driver is loaded. Only Linux has it."""
PROCESSOR_LISTING = Path("/proc/cpuinfo")
WATCH_EVERY_S = 0.02


def lock(descriptor: int, *, shared: bool = False) -> None:
    """Wait for the lock of an open file (flock). The kernel drops it with the last descriptor."""
    fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Take that lock if it is free, and say whether it was."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def process_start(pid: int) -> tuple[int, str]:
    """When a process started and in which boot: with its number this means one process for ever.

    Linux: clock ticks since the boot, which no change of the clock touches, and the kernel's id of
    the boot. Elsewhere: microseconds since 1970, as the kernel wrote them down at the start, and no
    boot. Raises ProcessLookupError where there is no such process.
    """
    if IS_LINUX:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            raise ProcessLookupError(f"no process {pid}") from None
        return int(fields[19]), Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    import psutil

    try:
        return round(psutil.Process(pid).create_time() * 1e6), ""
    except psutil.NoSuchProcess:
        raise ProcessLookupError(f"no process {pid}") from None


def is_stopped(pid: int) -> bool:
    """Whether SIGSTOP or a debugger stopped a process; False where there is none."""
    import psutil

    try:
        return psutil.Process(pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
    except psutil.NoSuchProcess:
        return False


def has_fast_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16, in AVX-512 or AMX. Linux tells it."""
    if not IS_LINUX:
        return False
    with PROCESSOR_LISTING.open() as lines:
        flags = next((line for line in lines if line.startswith("flags")), "")
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags.split())


def peak_resident_bytes() -> int:
    """The peak of this process's resident memory since its program began.

    Linux counts getrusage's maximum on from the process that started this one (a server may hold
    more than a worker ever does); VmHWM belongs to the program alone.
    """
    if IS_LINUX:
        return _own_status("VmHWM") * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, others KiB


def limit_memory(more_bytes: int) -> None:
    """Let this process reserve that much more memory at most, and be the first to go where memory
    runs out. Beyond it an allocation fails. No core is dumped.

    macOS does not hold the limit: there whoever waits for the process watches it, by
    `wait_for_child`.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not IS_LINUX:
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + more_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    Path("/proc/self/oom_score_adj").write_text("1000")


def is_near_memory_limit(spare_bytes: int) -> bool:
    """Whether this process has ever come that near to the limit that `limit_memory` set."""
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if not IS_LINUX or most == resource.RLIM_INFINITY:
        return False
    return _own_status("VmPeak") * 1024 > most - spare_bytes


def wait_for_child(pid: int, more_bytes: int, watch: bool = not IS_LINUX) -> int:
    """Wait for a forked process; its exit code, or minus the signal that ended it.

    watch: look at its resident memory all the while, and kill it where it has grown by more than
    `more_bytes` since the first look: what stands in for `limit_memory` where the system holds no
    limit.
    """
    if not watch:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    import psutil

    process = psutil.Process(pid)
    begin = process.memory_info().rss
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        with contextlib.suppress(psutil.ZombieProcess):  # it has just ended
            if process.memory_info().rss - begin > more_bytes:
                os.kill(pid, signal.SIGKILL)
        time.sleep(WATCH_EVERY_S)


def _own_status(name: str) -> int:
    """One number of this process's status (man proc_pid_status), as it stands there, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(one.split()[1]) for one in lines if one.startswith(f"{name}:"))
