"""Questions and answers about small numbers: adding, taking away, comparing, counting.

A pair of numbers is held out as a whole, in both orders and in every phrasing.
"""

from collections.abc import Iterator

from lora_engine.starter.facts import Fact
from lora_engine.starter.words import fill

LARGEST_ADDEND = 20
LARGEST_COMPARED = 50


def adding() -> Iterator[Fact]:
    for a in range(LARGEST_ADDEND + 1):
        for b in range(LARGEST_ADDEND + 1):
            yield Fact(
                "adding",
                f"{a} plus {b}",
                str(a + b),
                f"{a} plus {b} is {a + b}.",
                fill(
                    """what is {a} plus {b}?
                    what is {a} + {b}?
                    how much is {a} plus {b}?
                    add {a} and {b}.
                    {a} + {b}
                    {a} + {b} = ?
                    {a}+{b}
                    what's {a} plus {b}?
                    what is the sum of {a} and {b}?
                    tell me {a} plus {b}.
                    {a} plus {b}?
                    calculate {a} + {b}.""",
                    a=str(a),
                    b=str(b),
                ),
                f"add {min(a, b)} {max(a, b)}",
            )


def taking_away() -> Iterator[Fact]:
    for a in range(LARGEST_ADDEND + 1):
        for b in range(a + 1):
            yield Fact(
                "taking away",
                f"{a} minus {b}",
                str(a - b),
                f"{a} minus {b} is {a - b}.",
                fill(
                    """what is {a} minus {b}?
                    what is {a} - {b}?
                    how much is {a} minus {b}?
                    take {b} away from {a}.
                    {a} - {b}
                    {a}-{b}
                    what's {a} minus {b}?
                    tell me {a} minus {b}.
                    {a} minus {b}?
                    calculate {a} - {b}.
                    what is left of {a} when I take away {b}?""",
                    a=str(a),
                    b=str(b),
                ),
                f"subtract {a} {b}",
            )


def comparing() -> Iterator[Fact]:
    for a in range(LARGEST_COMPARED + 1):
        for b in range(LARGEST_COMPARED + 1):
            if a == b:
                continue
            big, small = max(a, b), min(a, b)
            group = f"compare {small} {big}"
            yield Fact(
                "bigger number",
                f"{a} and {b}",
                str(big),
                f"{big} is bigger than {small}.",
                fill(
                    """which is bigger, {a} or {b}?
                    what is bigger, {a} or {b}?
                    which number is larger, {a} or {b}?
                    is {a} or {b} bigger?
                    what is more, {a} or {b}?
                    which is greater, {a} or {b}?""",
                    a=str(a),
                    b=str(b),
                ),
                group,
            )
            yield Fact(
                "smaller number",
                f"{a} and {b}",
                str(small),
                f"{small} is smaller than {big}.",
                fill(
                    """which is smaller, {a} or {b}?
                    what is smaller, {a} or {b}?
                    is {a} or {b} smaller?
                    what is less, {a} or {b}?""",
                    a=str(a),
                    b=str(b),
                ),
                group,
            )


def next_to() -> Iterator[Fact]:
    for n in range(1, 100):
        yield Fact(
            "number after",
            str(n),
            str(n + 1),
            f"{n + 1} comes after {n}.",
            fill(
                """what number comes after {n}?
                which number comes after {n}?
                what comes after {n}?
                what is the next number after {n}?
                tell me the number after {n}.
                what is one more than {n}?""",
                n=str(n),
            ),
        )
        yield Fact(
            "number before",
            str(n),
            str(n - 1),
            f"{n - 1} comes before {n}.",
            fill(
                """what number comes before {n}?
                which number comes before {n}?
                what comes before {n}?
                tell me the number before {n}.
                what is one less than {n}?""",
                n=str(n),
            ),
        )
        parity = "even" if n % 2 == 0 else "odd"
        yield Fact(
            "even or odd",
            str(n),
            parity,
            f"{n} is an {parity} number.",
            fill(
                """is {n} even or odd?
                is {n} odd or even?
                is the number {n} even or odd?
                tell me if {n} is even or odd.
                even or odd: {n}?""",
                n=str(n),
            ),
        )


def doubling() -> Iterator[Fact]:
    for n in range(1, 31):
        yield Fact(
            "double",
            str(n),
            str(2 * n),
            f"Two times {n} is {2 * n}.",
            fill(
                """what is two times {n}?
                double {n}.
                what is the double of {n}?
                what is twice {n}?
                what is 2 times {n}?
                how much is two times {n}?
                what is {n} doubled?""",
                n=str(n),
            ),
        )


def counting() -> Iterator[Fact]:
    for first in range(1, 31):
        for last in range(first + 2, first + 11):
            up = ", ".join(str(n) for n in range(first, last + 1))
            down = ", ".join(str(n) for n in range(last, first - 1, -1))
            yield Fact(
                "counting",
                f"{first} to {last}",
                up,
                f"{up}.",
                fill(
                    """count from {a} to {b}.
                    can you count from {a} to {b}?
                    count up from {a} to {b}.
                    list the numbers from {a} to {b}.
                    say the numbers from {a} to {b}.""",
                    a=str(first),
                    b=str(last),
                ),
                f"count {first} {last}",
            )
            yield Fact(
                "counting down",
                f"{last} to {first}",
                down,
                f"{down}.",
                fill(
                    """count down from {b} to {a}.
                    count from {b} down to {a}.
                    count backwards from {b} to {a}.""",
                    a=str(first),
                    b=str(last),
                ),
                f"count {first} {last}",
            )


ALL = (adding, taking_away, comparing, next_to, doubling, counting)
