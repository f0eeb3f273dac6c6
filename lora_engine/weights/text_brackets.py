"""A matrix in brackets, as Python, NumPy, torch, MATLAB and Mathematica print it, as plain lines.

    [[1, 2], [3, 4]]    array([[1., 2.],    A = [1 2; 3 4]    {{1, 2}, {3, 4}}
                               [3., 4.]])

Each row becomes one line. Knows nothing of numbers.
"""

from __future__ import annotations

import re

from lora_engine.errors import EngineError
from lora_engine.language import tr

_WHOLE = re.compile(
    r"(?:\w+\s*=\s*)?(?:(?:np|numpy|torch)\.)?(?:array|asarray|tensor|matrix)?\s*\(?\s*(\[.*\])"
    r"(?:\s*,\s*\w+=[\w.:'<>()]+)*\s*\)?\s*;?",
    re.DOTALL,
)
_BRACES = str.maketrans("{}", "[]")


def rows_in_brackets(text: str, name: str) -> str | None:
    """The rows as lines of text, or None where the text as a whole stands in no brackets.

    Raises EngineError for more than two dimensions and for a printout that was shortened.
    """
    text = text.strip()
    if text.startswith("{"):
        text = text.translate(_BRACES)
    whole = _WHOLE.fullmatch(text)
    if whole is None:
        return None
    if "..." in text:
        raise EngineError(
            tr("{name} is a printout that leaves numbers out (...).", name=name),
            tr("Save the array itself, with numpy.save or numpy.savetxt."),
        )
    inside = whole[1][1:-1]
    if "[" not in inside:
        return "\n".join(_line(row) for row in re.split(r"[;\n]", inside) if row.strip())
    if re.sub(r"\[[^\[\]]*\]", "", inside).strip(", ;\t\r\n"):
        raise EngineError(
            tr(
                "{name} has brackets that are not those of a matrix: one pair for each row, "
                "and one around them.",
                name=name,
            ),
            tr("Give a matrix of two dimensions, as in [[1, 2], [3, 4]]."),
        )
    return "\n".join(_line(row) for row in re.findall(r"\[([^\[\]]*)\]", inside))


def _line(row: str) -> str:
    return " ".join(row.split()).strip(", ")
