"""Runs in a process of its own: loads a tokenizer.json under limits and tries it.

    python -I tokenizer_child.py MEMORY_BYTES CPU_S FILE

Its patterns and normalizers are programs of somebody else's: one may never end, another write
without bound. A file that is no tokenizer ends with status 3 and its reason as JSON. Imports
nothing of Rankscope, so that it can run isolated from the working folder and the environment.
"""

import json
import resource
import string
import sys

TRIED = [
    "The sky is blue, isn't it?\n\n\t 12345 = 3.14 ünïcödé 漢字 \U0001f600",
    *(character * 64 for character in string.printable),
    *(f"{character * 64}\0" for character in string.ascii_letters),
]


def main(memory_bytes: int, cpu_s: int, file: str) -> None:
    from tokenizers import Tokenizer

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + cpu_s,) * 2)
    with open("/proc/self/statm") as statm:
        mapped = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + memory_bytes,) * 2)
    try:
        tokenizer = Tokenizer.from_file(file)
        for text in TRIED:
            tokenizer.encode(text)
    except Exception as error:  # noqa: BLE001 - tokenizers raises plain exceptions
        json.dump({"error": " ".join(str(error).split())[:200]}, sys.stdout)
        sys.exit(3)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
