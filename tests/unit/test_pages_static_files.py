"""Static files: one version for all, addresses that hold for ever, types that browsers accept."""

from __future__ import annotations

import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from pages.shared import static_files

IMPORT = re.compile(r"from \"([^\"]+)\"")
EXPORT = re.compile(r"^export (?:async )?(?:function|class|const) (\w+)", re.MULTILINE)
NAMES = sorted(static_files.files())


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI()
    static_files.add_route(app)
    return TestClient(app)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_served_whole_with_its_type_and_kept_for_ever(
    name: str, client: TestClient
) -> None:
    answer = client.get(static_files.address(name))

    assert answer.content == static_files.files()[name].read_bytes()
    assert "immutable" in answer.headers["cache-control"]
    kind = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
    assert answer.headers["content-type"].startswith(kind[name.rpartition(".")[2]])


def test_plotly_stands_beside_the_packages(client: TestClient) -> None:
    answer = client.get(f"{static_files.ROOT}/{static_files.version()}/{static_files.PLOTLY}")

    assert answer.status_code == 200
    assert len(answer.content) > 1_000_000


def test_another_version_or_another_file_is_not_found(client: TestClient) -> None:
    known = static_files.address("shared/plot.js")
    assert client.get(known.replace(static_files.version(), "0" * 12)).status_code == 404
    for name in ("plot.py", "..%2f..%2fwiring.py", "%2e%2e%2fwiring.py"):
        assert client.get(known.replace("plot.js", name)).status_code == 404
    with pytest.raises(KeyError, match=r"shared/none\.js"):
        static_files.address("shared/none.js")


def test_the_version_changes_with_any_file(monkeypatch: pytest.MonkeyPatch) -> None:
    files = dict(static_files.files())
    before = static_files.version()
    files["shared/plot.js"] = files["shared/table.js"]
    monkeypatch.setattr(static_files, "files", lambda: files)

    assert static_files.version.__wrapped__() != before


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(".js")])
def test_a_module_imports_only_what_there_is(name: str) -> None:
    for path in IMPORT.findall(static_files.files()[name].read_text("utf-8")):
        folder = static_files.files()[name].parent
        package = name.partition("/")[0]
        assert path.startswith(("./", "../"))
        target = path.removeprefix("./") if path.startswith("./") else path.removeprefix("../")
        wanted = f"{package}/{target}" if path.startswith("./") else target
        assert wanted in static_files.files(), f"{folder}: {path}"


def test_the_script_of_a_part_calls_what_its_module_exports() -> None:
    text = static_files.call_js("shared/table.js", "table", {"a": '"x"'})

    assert static_files.address("shared/table.js") in text
    assert "table" in EXPORT.findall(static_files.files()["shared/table.js"].read_text("utf-8"))
    assert r'trigger, {"a": "\"x\""})' in text
