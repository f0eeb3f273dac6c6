"""The screen that stands in a page before Gradio has drawn it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from lora_engine.language import speaking, tr
from pages import PAGES, Page
from pages.shared import first_screen, static_files


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.package)
def test_every_page_opens_with_its_own_title_and_place_in_the_bar(page: Page) -> None:
    screen = first_screen.body("zh-CN", page.path.strip("/"))
    with speaking("zh"):
        title, purpose = tr(page.title), tr(page.purpose)
    assert f"<h1>{title}</h1><p>{purpose}</p>" in screen
    (here,) = re.findall(r'<a href="([^"]*)" class="active"', screen)
    assert here == f"/zh{page.path}"
    assert screen.count("<a ") == len(PAGES)


def test_only_the_pages_own_styles_are_linked() -> None:
    linked = re.findall(r'rel="stylesheet" href="([^"]*)"', first_screen.head("en", "train"))
    assert linked == [static_files.address(f"{n}.css") for n in ("shared/rankscope", "train/train")]


def test_gradios_scripts_that_are_fetched_early_are_there() -> None:
    names = first_screen.gradios_own()
    assert any(name.startswith("Blocks-") for name in names)
    assert len(set(names)) == len(names)
    package = importlib.util.find_spec("gradio")
    assert package is not None
    assert package.origin is not None
    assets = Path(package.origin).parent / "templates" / "frontend" / "assets"
    assert [name for name in names if not (assets / name).is_file()] == []
