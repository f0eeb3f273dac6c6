"""The documentation matches the code: pages made from it, links that lead somewhere."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "README.zh.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_spec_page_is_made_from_the_fields_as_they_are():
    made = runpy.run_path(str(ROOT / "docs" / "make_spec.py"))["page"]()
    assert (ROOT / "docs" / "spec.md").read_text("utf-8") == made, "run: python docs/make_spec.py"


def test_the_map_of_modules_is_that_of_the_tree():
    made = runpy.run_path(str(ROOT / "docs" / "make_architecture.py"))
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    assert page == made["page"](), "run: python docs/make_architecture.py"


@pytest.mark.parametrize("package", ["lora_engine", "pages"])
def test_every_module_opens_with_what_it_is(package):
    first_line = runpy.run_path(str(ROOT / "docs" / "make_architecture.py"))["first_line"]
    silent = [path for path in (ROOT / package).rglob("*.py") if len(first_line(path)) < 20]
    assert silent == []


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
