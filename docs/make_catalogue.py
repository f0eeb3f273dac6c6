"""Brings the catalogues of translations up to date: `python docs/make_catalogue.py [PACKAGE …]`.

Finds the texts of every package (`tr`, `tr_count`, `translatable`, what a `Field` is called and the
docstrings of commands in Python, `tr` in JavaScript), and writes
`lora_engine/locale/<language>/<package>.po`: translations are kept, new texts come with an empty
one, texts that are gone go. A test compares the files with what this makes, and no translation may
be empty there. With packages named, as `pages.train`, only their files are written.
"""

from __future__ import annotations

import ast
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from babel.messages.catalog import Catalog  # noqa: E402
from babel.messages.pofile import read_po, write_po  # noqa: E402

from lora_engine.language import CATALOGUES, ENGLISH, LANGUAGES  # noqa: E402
from pages.shared.static_files import JAVASCRIPT_TEXT  # noqa: E402

# Which of a call's arguments are texts.
MARKS = {
    "tr": (0,),
    "tr_count": (0, 1),
    "translatable": (0,),
    "said": (0,),
    "said_count": (0, 1),
    "_About": (1, 3),  # of a finding
    "Label": (0, 2),  # of a run's metrics
    "_column": (0, 1),  # of the spec
}
FIELD_TEXTS = ("title", "description")


def texts(package: str) -> list[str]:
    """The English texts of a package, each once, in the order of its files."""
    found: list[str] = []
    for path in _files(package):
        source = path.read_text("utf-8")
        found.extend(python_texts(source) if path.suffix == ".py" else javascript_texts(source))
    return list(dict.fromkeys(found))


def python_texts(source: str) -> Iterator[str]:
    """The texts that Python code marks. Of `tr("a" if x else "b")` both, of `tr(text)` none."""
    tree = ast.parse(source)
    functions = [one for one in tree.body if isinstance(one, ast.FunctionDef)]
    docstrings = {one.name: ast.get_docstring(one) or "" for one in functions}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            for place in MARKS.get(node.func.id, ()):
                yield from _literals(node.args[place]) if place < len(node.args) else ()
            if node.func.id == "add_commands":  # whose docstrings are what --help says
                named = [one.id for one in node.args if isinstance(one, ast.Name)]
                yield from (docstrings[one] for one in named if one in docstrings)
            if node.func.id == "Field":  # pydantic's: what a form shows
                shown = [one.value for one in node.keywords if one.arg in FIELD_TEXTS]
                yield from (text for one in shown for text in _literals(one))


def _literals(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    if isinstance(node, ast.IfExp):
        yield from _literals(node.body)
        yield from _literals(node.orelse)


def javascript_texts(source: str) -> Iterator[str]:
    """The texts that JavaScript marks: double-quoted literals, as Biome writes them."""
    yield from (json.loads(one) for one in JAVASCRIPT_TEXT.findall(source))


def packages() -> list[str]:
    """Every package that may hold texts, as `pages.train`; a folder's own modules as `pages`."""
    roots = [ROOT / "lora_engine", ROOT / "pages"]
    folders = [path for root in roots for path in [root, *sorted(root.iterdir())] if path.is_dir()]
    names = [".".join(path.relative_to(ROOT).parts) for path in folders]
    return ["app", *(name for name in names if "__pycache__" not in name)]


def catalogue_path(package: str, language: str) -> Path:
    """The file of a package's translations."""
    return CATALOGUES / language / f"{package}.po"


def catalogue(package: str, language: str) -> Catalog:
    """A package's texts with the translations that are written down."""
    path = catalogue_path(package, language)
    old = Catalog(locale=language)
    if path.is_file():
        with path.open("rb") as file:
            old = read_po(file, locale=language)
    new = Catalog(locale=language, fuzzy=False)
    for text in texts(package):
        known = old.get(text)
        new.add(text, known.string if known else "")
    return new


def file_of(made: Catalog) -> bytes:
    """A catalogue as its file, without dates and places, which change with every line of code."""
    written = io.BytesIO()
    write_po(written, made, no_location=True, omit_header=True, width=0)
    return b"# Made by docs/make_catalogue.py, which keeps the translations written here.\n" + (
        written.getvalue()
    )


def _files(package: str) -> Iterator[Path]:
    if package == "app":
        yield ROOT / "app.py"
        return
    folder = ROOT / package.replace(".", "/")
    own = folder.glob if package in ("lora_engine", "pages") else folder.rglob
    yield from (path for path in sorted(own("*")) if path.suffix in (".py", ".js"))


def main() -> None:
    """Write the catalogues of the packages named, or of all."""
    for language in LANGUAGES:
        if language == ENGLISH:
            continue
        for package in sys.argv[1:] or packages():
            made, path = catalogue(package, language), catalogue_path(package, language)
            missing = [message.id for message in made if message.id and not message.string]
            if len(made):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(file_of(made))
            elif path.is_file():
                path.unlink()
            if missing:
                print(f"{path.relative_to(ROOT)}: {len(missing)} texts without a translation")


if __name__ == "__main__":
    main()
