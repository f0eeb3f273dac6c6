"""Functions that misbehave, for the tests of the guard; and what they are told from outside."""

import os
import time


def double(value):
    return value * 2


def spin():
    while True:
        pass


def wait():
    time.sleep(1_000)


def fill():
    return len(b"x" * (1 << 30))


def crash():
    os.abort()


def talk(size):
    return "x" * size


def divide():
    return 1 // 0


def refuse():
    from lora_engine.errors import EngineError
    from lora_engine.language import language

    raise EngineError(f"It is wrong ({language()}).", "Mend it.")


def environment():
    return dict(os.environ)


def pieces(count):
    for number in range(count):
        yield bytes([number]) * 1_000
