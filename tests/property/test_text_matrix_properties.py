"""A matrix written by the writers people have reads back equal, whatever its numbers and size."""

import csv
import io

import numpy as np
import pandas as pd
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lora_engine.weights import parse_matrix

NUMBERS = st.floats(-1e6, 1e6, allow_subnormal=False).map(lambda value: value + 0.0)


@st.composite
def matrices(draw):
    rows, columns = draw(st.integers(2, 6)), draw(st.integers(2, 6))
    matrix = draw(arrays(np.float64, (rows, columns), elements=NUMBERS))
    matrix[0, 0] = 0.5  # three decimals in every cell could be thousands, and are refused
    return matrix


def frame(matrix, named: bool):
    names = [f"x{place}" for place in range(matrix.shape[1])]
    return pd.DataFrame(matrix, columns=names if named else None)


def r_table(matrix, separator: str, corner: bool) -> str:
    """As write.table and write.csv write it: quoted names, row names, no corner in write.table."""
    names = [f'"V{place + 1}"' for place in range(matrix.shape[1])]
    lines = [separator.join(['""'] * corner + names)]
    for place, row in enumerate(matrix, start=1):
        lines.append(separator.join([f'"{place}"', *(repr(float(v)) for v in row)]))
    return "\n".join(lines)


def numpy_text(matrix, delimiter: str, header: str) -> str:
    file = io.StringIO()
    np.savetxt(file, matrix, delimiter=delimiter, header=header, fmt="%.17g")
    return file.getvalue()


def spreadsheet(matrix, separator: str, decimal: str, quoting: int, trailing: int) -> str:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=separator, quoting=quoting)
    for row in matrix:
        cells = [repr(float(value)).replace(".", decimal) for value in row]
        writer.writerow([*cells, *[""] * trailing])
    return file.getvalue()


WRITERS = {
    "pandas, index": lambda m: frame(m, True).to_csv(),
    "pandas, index, numbered": lambda m: frame(m, False).to_csv(),
    "pandas": lambda m: frame(m, True).to_csv(index=False),
    "pandas, numbered": lambda m: frame(m, False).to_csv(index=False),
    "pandas, tabs": lambda m: frame(m, True).to_csv(sep="\t"),
    "pandas, German": lambda m: frame(m, True).to_csv(sep=";", decimal=","),
    "pandas, quoted": lambda m: frame(m, False).to_csv(quoting=csv.QUOTE_ALL, index=False),
    "pandas, index twice": lambda m: (
        frame(m, True).reset_index(names="Unnamed: 0").to_csv(index=False)
    ),
    "R, write.table": lambda m: r_table(m, " ", False),
    "R, write.csv": lambda m: r_table(m, ",", True),
    "R, write.csv2": lambda m: r_table(m, ";", True).replace(".", ","),
    "NumPy, spaces": lambda m: numpy_text(m, " ", ""),
    "NumPy, commas": lambda m: numpy_text(m, ",", "made by a test"),
    "Excel": lambda m: "sep=;\r\n" + spreadsheet(m, ";", ",", csv.QUOTE_MINIMAL, 0),
    "quoted decimal commas": lambda m: spreadsheet(m, ",", ",", csv.QUOTE_ALL, 0),
    "trailing columns": lambda m: spreadsheet(m, ",", ".", csv.QUOTE_MINIMAL, 2),
}


@settings(max_examples=60, deadline=None)
@given(matrices(), st.sampled_from(list(WRITERS)))
def test_a_written_matrix_reads_back_equal(matrix, writer):
    text = WRITERS[writer](matrix)
    # Without any decimals a numbered header cannot be told from a row of numbers: it is noted.
    assume("numbered" not in writer or "." in text)
    np.testing.assert_array_equal(parse_matrix(text).values, matrix, err_msg=text)
