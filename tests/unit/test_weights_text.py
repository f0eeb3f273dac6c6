"""Matrices as text in the spellings of other programs: read rightly with a note, or refused by
line and column."""

import json
import re
import sys

import numpy as np
import pytest

from lora_engine.__main__ import main
from lora_engine.cli.spectrum import svd
from lora_engine.errors import EngineError
from lora_engine.language import speaking
from lora_engine.weights import open_matrix, parse_matrix
from lora_engine.weights.matrix import to_array

M = [[1.5, 2.5], [3.5, -4.5]]


def values_and_notes(text: str) -> tuple[list[list[float]], str]:
    matrix = parse_matrix(text)
    return matrix.values.tolist(), " ".join(matrix.notes)


@pytest.mark.parametrize(
    ("text", "noted"),
    [
        ('"1,5","2,5"\n"3,5","-4,5"\n', "decimal"),
        ('"1,5";"2,5"\n"3,5";"-4,5"\n', "decimal"),
        ("1,5;2,5\n3,5;-4,5\n", "decimal"),
        ("1,5 2,5\n3,5 -4,5\n", "decimal"),
        ("1,5\t2,5\r\n3,5\t-4,5\r\n", "decimal"),
        ("1,5|2,5\n3,5|-4,5", "decimal"),
        ("sep=;\n1,5;2,5\n3,5;-4,5", "decimal"),
        ("sep=,\n1.5,2.5\n3.5,-4.5", ""),
        ("1.5,2.5\n3.5,\u22124.5", ""),
        ("+1.5,2.5\n\n+3.5,-4.5\n\n", ""),
        ("1.5,2.5\u20283.5,-4.5\u2028", ""),
        ("1.5,2.5\x853.5,-4.5", ""),
        ("1.5,2.5,\n3.5,-4.5,\n", "empty last column"),
        ("a,b,,\n1.5,2.5,,\n3.5,-4.5,,\n,,,\n", "empty last column"),
        ("1.5,2.5\n3.5,-4.5\n,\n", "separators alone were left out: 1"),
        ("0,1\n1.5,2.5\n3.5,-4.5\n", "pandas"),
        (",0,1\n0,1.5,2.5\n1,3.5,-4.5\n", "without a name"),
        (",0,1\n7,1.5,2.5\n3,3.5,-4.5\n", "without a name"),
        (",0,1\nx,1.5,2.5\ny,3.5,-4.5\n", "without a name"),
        (",a,b\nx,1.5,2.5\ny,3.5,-4.5\n", "without a name"),
        ("Unnamed: 0,a,b\n9,1.5,2.5\n4,3.5,-4.5\n", "without a name"),
        ("index,a,b\n0,1.5,2.5\n1,3.5,-4.5\n", "row numbers"),
        ("ID;a;b\n1;1,5;2,5\n2;3,5;-4,5\n", "row numbers"),
        ("id,0,1\nx,1.5,2.5\ny,3.5,-4.5\n", "pandas"),
        ("row,0,1\n1,1.5,2.5\n2,3.5,-4.5\n", "column numbers"),
        ('"","V1","V2"\n"1",1.5,2.5\n"2",3.5,-4.5\n', "without a name"),
        ('"V1" "V2"\n"1" 1.5 2.5\n"2" 3.5 -4.5\n', "not named in the first line"),
        ("V1\tV2\n1\t1.5\t2.5\n2\t3.5\t-4.5\n", "not named in the first line"),
        ("1 2\n1 1.5 2.5\n2 3.5 -4.5\n", "not named in the first line"),
        ('"1","2"\n1.5,2.5\n3.5,-4.5\n', "column numbers"),
        ("x [mm],y [mm]\n1.5,2.5\n3.5,-4.5\n", "column names"),
        ("Results\nx,y\n1.5,2.5\n3.5,-4.5\n", "first 2 lines"),
        ("x,y\nmm,mm\n1.5,2.5\n3.5,-4.5\n", "first 2 lines"),
        ('"x, long","y\nlong"\n1.5,2.5\n3.5,-4.5\n', "column names"),
        ("gene,s1,s2\nBRCA,1.5,2.5\nTP53,3.5,-4.5\n", "row names"),
        ("a,1.5,2.5\nb,3.5,-4.5\n", "row names"),
        ("[[1.5, 2.5], [3.5, -4.5]]", "brackets"),
        ("array([[ 1.5,  2.5],\n       [ 3.5, -4.5]])", "brackets"),
        ("tensor([[1.5, 2.5],\n        [3.5, -4.5]], dtype=torch.float64)", "brackets"),
        ("[[ 1.5  2.5]\n [ 3.5 -4.5]]\n", "brackets"),
        ("W = [1.5 2.5; 3.5 -4.5];", "brackets"),
        ("[1.5, 2.5\n3.5, -4.5]", "brackets"),
        ("{{1.5, 2.5}, {3.5, -4.5}}", "brackets"),
        ("     [,1] [,2]\n[1,]  1.5  2.5\n[2,]  3.5 -4.5\n", "not named in the first line"),
        ("# x y\n1.5 2.5\n3.5 -4.5\n", "Comment lines were left out: 1"),
        ("% MATLAB\n   1.5   2.5\n   3.5  -4.5\n", "Comment lines"),
        ("# Created by Octave\n# name: A\n# rows: 2\n 1.5 2.5\n 3.5 -4.5\n\n", "Comment lines"),
    ],
)  # fmt: skip
def test_the_same_matrix_in_the_spelling_of_other_programs(text, noted):
    values, notes = values_and_notes(text)
    assert values == M
    assert noted in notes


@pytest.mark.parametrize(
    ("text", "first", "noted"),
    [
        ('"1,234.5","2"\n"3","4"', 1234.5, "1,234.5"),
        ("1.234,5;2\n3;4", 1234.5, "1.234,5"),
        ("1 234,5;2\n3;4", 1234.5, "1 234,5"),
        ("1\u00a0234,5;2\n3;4", 1234.5, "1 234,5"),
        ("1\u202f234,5;2\n3;4", 1234.5, "1 234,5"),
        ("1'234.5,2\n3,4", 1234.5, "1'234.5"),
        ("1\u2019234.5,2\n3,4", 1234.5, "1\u2019234.5"),
        ("1.234.567;2\n3;4", 1234567.0, "1.234.567"),
        ("1,234.5 2\n3 4", 1234.5, "1,234.5"),
        ("1,234;2,5\n3;4", 1.234, "decimal mark"),
        ("1,234;2,345\n3;4", 1.234, "'1,234', was read as the decimal mark"),
        ("1.234;2.345\n3;4", 1.234, "'1.234', was read as the decimal mark"),
        ("1.234,2.345\n3,4", 1.234, ""),
        ("1.234 2.345\n3 4", 1.234, ""),
        ("0,1\n2,3\n4,5", 0.0, "read as numbers"),
        ("0,1\n-0.5,1.5", 0.0, "read as numbers"),
        ("2019,2020\n0.5,1.5\n2.5,3.5", 2019.0, "read as numbers"),
        ("0 1\n1 0", 0.0, "read as numbers"),
        ("[[0, 1], [0.5, 1.5], [2.5, 3.5]]", 0.0, "brackets"),
        ("0,1.5,2.5\n1,3.5,4.5\n2,5.5,6.5", 0.0, "first column counts the rows"),
        ("x,y,z\n1,1.5,2.5\n2,3.5,4.5\n3,5.5,6.5", 1.0, "first column counts the rows"),
        ("1 0\n0 1", 1.0, ""),
        ("1e3,2E-1\n3,4", 1000.0, ""),
        (".5,1.\n3,4", 0.5, ""),
    ],
)
def test_marks_of_thousands_and_what_could_be_a_header(text, first, noted):
    values, notes = values_and_notes(text)
    assert values[0][0] == first
    assert noted in notes
    assert noted or notes == ""


@pytest.mark.parametrize(
    ("text", "values", "noted"),
    [
        ("1,2,3\n", [[1, 2, 3]], "1 x 3"),
        ("1\n2\n3\n", [[1], [2], [3]], "3 x 1"),
        ("a;b\n1,5;2,5\n", [[1.5, 2.5]], "1 x 2"),
        ("x\n1\n2\n", [[1], [2]], "2 x 1"),
        ("7", [[7]], ""),
    ],
)
def test_one_line_or_one_column_is_a_matrix_with_a_note(text, values, noted):
    found, notes = values_and_notes(text)
    assert (found, noted in notes) == (values, True)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('"1,234","5,678"\n"1,234","5,678"', "line 1 can be read in two ways: '1,234'"),
        ("1,234 5,678\n1,234 5,678", "line 1 can be read in two ways: '1,234'"),
        ("1,5 200,3\n1,5 200,3", "line 1 can be read in two ways: '1,5 200,3'"),
        ("1,5;2.5\n3;4", "line 1, column 2 holds '2.5'"),
        (",2\n3,4", "line 1, column 1 is empty"),
        ("a,b\n1,NA\n2,3", "line 2, column 2 holds 'NA', which is no finite number"),
        ("#N/A,1\n3,4", "line 1, column 1 holds '#N/A'"),
        ("1,-inf\n3,4", "line 1, column 2 holds '-inf'"),
        ("1,12%\n3,4", "line 1, column 2 holds '12%', a percentage"),
        ("0x1f,1\n3,4", "a hexadecimal number"),
        ("1+2i,1\n3,4", "a complex number"),
        ("2024-01-05;1;2\n3;4;5", "a date"),
        ("TRUE,1\n3,4", "a truth value"),
        ("$5,1\n3,4", "an amount of money"),
        ("1.5D+03,1\n3,4", "Fortran"),
        ("1,1e999\n3,4", "beyond what float64 holds"),
        ("5.1,3.5,setosa\n4.9,3.0,setosa", "line 1, column 3 holds 'setosa'"),
        ("a,b,c,d\n1,2,3\n4,5,6\n", "line 1 has 4 names in its header, where the lines below"),
        ('1,2\n"3,4\n', "line 2: a quote"),
        ("Dear diary,\nToday was fine, I think.\nI went home.\n", "no table of numbers; line 1"),
        ("{\"a\": 1}", "is JSON"),
        ("[[1, 2], [3]]", "line 2: 1 columns"),
        ("[[1, 2], [3, None]]", "line 2, column 2 holds 'None'"),
        ("[1, 2, 3]", "vector of 3"),
        ("[[[1, 2], [3, 4]]]", "not those of a matrix"),
        ("array([[1., 2., ..., 3.],\n [4., 5., ..., 6.]])", "leaves numbers out"),
        ("<!DOCTYPE html><html>", "web page"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:1", "Git LFS pointer"),
        ("%%MatrixMarket matrix array real general\n2 2\n1\n2\n3\n4\n", "Matrix Market"),
    ],
)  # fmt: skip
def test_what_is_no_matrix_is_named(text, named):
    with pytest.raises(EngineError) as refused:
        parse_matrix(text)
    assert named in str(refused.value)
    assert refused.value.remedy


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["m.csv", "m.tsv", "m.txt", "m.dat"])
def test_encodings_and_endings(tmp_path, encoding, name):
    (tmp_path / name).write_bytes("größe;b\r\n1,5;2,5\r\n3,5;-4,5\r\n".encode(encoding))
    assert to_array(open_matrix(tmp_path / name)).tolist() == M


def test_a_late_line_in_another_spelling_is_refused_there(tmp_path):
    lines = ["1.5,2.5"] * 20_000 + ["1.5,2.5,3.5"]
    (tmp_path / "m.csv").write_text("\n".join(lines))
    with pytest.raises(EngineError, match=r"line 20001: 3 columns, where the others have 2"):
        open_matrix(tmp_path / "m.csv")
    lines[-1] = '1.5,"2,5"'
    (tmp_path / "m.csv").write_text("\n".join(lines))
    with pytest.raises(EngineError, match=r"line 20001, column 2 holds '2,5'"):
        open_matrix(tmp_path / "m.csv")


@pytest.mark.parametrize(
    ("content", "shape", "noted"),
    [
        ('"1,5","2,5"\n"3,5","4,5"\n', [2, 2], "decimal"),
        ("0,1\n0.5,1.5\n3.5,4.5\n", [2, 2], "pandas"),
        ('"V1" "V2"\n"1" 10 20\n"2" 30 40\n', [2, 2], "row names"),
        ("1,2\n3,4\n", [2, 2], ""),
        ("5\n", [1, 1], ""),
    ],
)
def test_the_command_says_how_it_read_and_takes_a_k_that_fits(
    tmp_path, capsys, content, shape, noted
):
    (tmp_path / "m.txt").write_text(content)
    svd(tmp_path / "m.txt", json=True)
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert (found["shape"], found["k"]) == (shape, min(shape))
    assert noted in " ".join(found["notes"])
    assert noted in printed.err
    np.testing.assert_allclose(found["energy"], 1.0)


def test_the_command_refuses_with_exit_code_2_and_two_lines(tmp_path, capsys, monkeypatch):
    (tmp_path / "m.csv").write_text("1,2\n3,12%\n")
    monkeypatch.setattr(sys, "argv", ["rankscope", "svd", str(tmp_path / "m.csv"), "--json"])
    assert main() == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    problem, remedy = printed.err.strip().splitlines()
    assert problem.startswith("error: m.csv, line 2, column 2 holds '12%', a percentage")
    assert "0.12" in remedy


@pytest.mark.parametrize(
    "text",
    [
        "a;b\n1,5;2,5\n3,5;4,5\n",
        "sep=;\n1;2;\n3;4;\n",
        "# remark\nx,1.234.567,5\n",
        '"V1" "V2"\n"1" 10 20\n"2" 30 40\n',
        "0,1\n1.5,2.5\n3.5,4.5\n",
        "0,1\n1,2\n3,4\n",
        ",a\nx,1\ny,2\n,\n",
        "[[1, 2], [3, 4]]",
        "1,234;2,345\n3;4",
        "1\n2\n3\n",
        "1,12 %\n3,4\n",
        "1,2020-01-02\n3,4\n",
        "1,\n3,4\n",
        "1,nan\n3,4\n",
        "1,1e999\n3,4\n",
        "%%MatrixMarket matrix\n",
        "Dear diary, it rains.\nStill.\n",
    ],
)
def test_what_is_said_of_a_table_is_said_in_the_readers_language(text):
    with speaking("zh"):
        try:
            said = list(parse_matrix(text).notes)
        except EngineError as error:
            said = [error.problem, error.remedy]
    given = f"{text} pandas float64 scipy io mmread numpy save x".lower()
    words = [word for line in said for word in re.findall(r"[a-z]{2,}", line.lower())]
    assert said
    assert [word for word in words if word not in given] == []
