"""Long work of the spectrum page in a real browser: it stops when asked, and a sketch says so."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect
from safetensors.numpy import save_file

from tests.browser.conftest import Server
from tests.browser.test_spectrum import DRAWN_MS, VIEW, opened, tile

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]
SKETCHED_MS = 180_000  # reads the matrix eight times


def test_a_long_decomposition_stops_when_asked(
    server: Server, open_page: OpenPage, tmp_path: Path
) -> None:
    # 3,000 x 3,000 takes some seconds: long enough to be stopped by a person.
    values = np.random.default_rng(0).standard_normal((3000, 3000)).astype(np.float32)
    np.save(tmp_path / "slow.npy", values)
    page = open_page(f"{server.url}/spectrum?sample=teaching")
    opened(page, "Teaching matrix")

    page.get_by_role("tab", name="Upload").click()
    page.locator("#matrix-file input[type=file]").set_input_files(tmp_path / "slow.npy")
    page.get_by_role("button", name="Stop", exact=True).click()

    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_hidden()
    expect(page.locator(VIEW)).to_have_attribute("aria-busy", "false")
    expect(page.locator("#matrix-doing progress")).to_have_count(0)
    # Nothing waits behind the stopped one: the next matrix opens.
    page.get_by_role("tab", name="Type").click()
    page.locator("#matrix-text textarea").fill("3 0\n0 4")
    page.get_by_role("button", name="Take it apart").click()
    opened(page, "The text")


def save_adapter(folder: Path, rank: int) -> Path:
    """24 modules of random factors."""
    random = np.random.default_rng(rank)
    folder.mkdir()
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    tensors = {}
    for layer in range(24):
        module = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        for factor, shape in (("A", (rank, 1024)), ("B", (1024, rank))):
            values = random.standard_normal(shape).astype(np.float16)
            tensors[f"{module}.lora_{factor}.weight"] = values
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def test_a_comparison_of_adapters_stops_when_asked(
    server: Server, open_page: OpenPage, tmp_path: Path
) -> None:
    # Modules of rank 256 take some seconds to compare where a core is free, and minutes on a
    # busy machine; those of rank 1 take no time anywhere.
    slow, quick = save_adapter(tmp_path / "slow", 256), save_adapter(tmp_path / "quick", 1)
    # In the address, or the tab opens on the newest two that other tests have made.
    page = open_page(f"{server.url}/spectrum?sample=teaching&a={slow}&b={quick}")
    page.get_by_role("tab", name="Two adapters").click()
    expect(page.locator("#pair-sentence")).to_contain_text("Of 24 modules", timeout=DRAWN_MS)
    choose(page, "Adapter B", slow)
    stop = page.get_by_role("button", name="Stop", exact=True)
    expect(page.get_by_text("comparing model.layers.")).to_be_visible(timeout=DRAWN_MS)

    stop.click()

    expect(stop).to_be_hidden()
    expect(page.locator("progress:visible")).to_have_count(0)
    page.wait_for_timeout(1000)  # the answer, had the work gone on, would arrive now and later
    expect(page.locator("#pair-table tbody tr")).to_have_count(0)
    # Nothing waits behind the stopped one: the next pair is compared whole, and in another way.
    choose(page, "Adapter A", quick)
    choose(page, "Adapter B", quick)
    expect(page.locator("#pair-sentence")).to_contain_text("Of 24 modules", timeout=DRAWN_MS)
    page.get_by_label("Compare", exact=True).click()
    page.get_by_role("option", name="lora_A, as the LoRA paper draws it").click()
    expect(page).to_have_url(re.compile("on=A-right"))
    expect(page.locator("#pair-sentence")).to_contain_text("Of 24 modules", timeout=DRAWN_MS)


def choose(page: Page, field: str, folder: Path) -> None:
    page.get_by_label(field).fill(str(folder))
    page.keyboard.press("Enter")


def test_a_sketch_draws_and_names_the_band_that_its_energy_lies_in(
    server: Server, open_page: OpenPage, tmp_path: Path, screenshot: Callable
) -> None:
    # One side more than the exact routes take, and noise, of which a sketch leaves much open.
    values = np.random.default_rng(0).integers(-9, 10, (8193, 8193), dtype=np.int8)
    np.save(tmp_path / "noise.npy", values)
    page = open_page(f"{server.url}/spectrum?sample=teaching")
    opened(page, "Teaching matrix")
    label = page.get_by_text("band: between what is certain")
    expect(label).to_be_hidden()

    page.get_by_role("tab", name="Upload").click()
    page.locator("#matrix-file input[type=file]").set_input_files(tmp_path / "noise.npy")

    expect(page.locator(f"{VIEW} h2")).to_contain_text("noise", timeout=SKETCHED_MS)
    expect(page.locator(f"{VIEW} .rs-method")).to_contain_text("Randomized", timeout=SKETCHED_MS)
    page.locator(f"{VIEW} .rs-k-number").fill("100")
    page.keyboard.press("Enter")
    certificate = page.locator(f"{VIEW} .rs-method")
    expect(certificate).to_contain_text(re.compile("at k = 100 lies between .* % and .* %"))
    low, high = map(float, re.findall(r"([\d.]+) %", certificate.text_content()))
    assert 0 < low < true_share(values, 100) < high < 100
    plot = page.get_by_role("img", name=re.compile(f"the first 100 keep {low:g} % to"))
    expect(plot).to_be_visible()
    band = plot.locator("path").last.bounding_box()
    assert band["width"] > 0.9 * (plot.bounding_box()["width"] - 80)
    assert band["height"] > 20
    expect(label).to_be_visible()
    expect(tile(page, "numerical rank")).to_have_text("at least 256")
    expect(tile(page, "effective rank")).to_have_text("not known")
    screenshot(page, "spectrum-band")


def true_share(values: np.ndarray, k: int) -> float:
    """Percent of the energy in the first k directions of even noise: Marchenko and Pastur's law
    for a square matrix, s = 2 cos(angle), the first k above the angle that leaves them out."""
    share = k / values.shape[0]
    angles = np.linspace(0, np.pi / 2, 100_001)
    density = 4 / np.pi * np.sin(angles) ** 2
    step = angles[1]
    within = np.cumsum(density) * step
    energy = np.cumsum(density * np.cos(angles) ** 2) * step
    return 100 * float(energy[np.searchsorted(within, share)] / energy[-1])
