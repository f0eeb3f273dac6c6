"""The peak of resident memory is the program's own, whoever started it."""

import subprocess
import sys

from lora_engine.training.memory.usage import peak_resident_bytes

MIB = 2**20
CHILD = (
    "from lora_engine.training.memory.usage import peak_resident_bytes\n"
    "held = bytearray({held} * 2**20)\n"
    "held[::4096] = bytes(len(held[::4096]))\n"
    "print(peak_resident_bytes())\n"
)


def child_peak(held: int) -> int:
    command = [sys.executable, "-c", CHILD.format(held=held)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_a_small_program_of_a_large_one_has_a_small_peak():
    held = bytearray(300 * MIB)
    held[::4096] = bytes(len(held[::4096]))
    assert peak_resident_bytes() >= 300 * MIB
    small = child_peak(1)
    assert small < 250 * MIB
    assert child_peak(100) >= small + 90 * MIB
