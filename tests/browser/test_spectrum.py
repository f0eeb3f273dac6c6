"""The spectrum page in a real browser: k moves without the server, files open, errors speak."""

from __future__ import annotations

import json
import re
import shutil
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Server, Traffic

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]
VIEW = "#matrix-view .rs-spectrum"
DRAWN_MS = 60_000
PIXELS = """() => [...document.querySelectorAll('#matrix-view canvas[tabindex]')].map((canvas) => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return data.reduce((sum, value, i) => (sum * 31 + value * (i % 7 + 1)) % 1000003, 7);
})"""


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Server]) -> Server:
    """One of this file's own: its tests make adapters."""
    return start_server()


def opened(page: Page, name: str) -> None:
    """Wait until this matrix is drawn at its k."""
    expect(page.locator(f"{VIEW} h2")).to_contain_text(name, timeout=DRAWN_MS)
    expect(page.locator(VIEW)).to_have_attribute("aria-busy", "false", timeout=DRAWN_MS)
    expect(page.locator(f"{VIEW} figcaption").nth(1)).to_contain_text("k =", timeout=DRAWN_MS)


def tile(page: Page, name: str) -> Locator:
    """The number on the tile of this name."""
    return page.locator(f"{VIEW} .rs-tile", has_text=name).locator("dd").first


def test_k_moves_by_key_repaints_and_asks_nobody(
    server: Server, open_page: OpenPage, traffic: Traffic
) -> None:
    page = open_page(f"{server.url}/spectrum?sample=teaching&k=2")
    opened(page, "Teaching matrix")
    expect(tile(page, "energy kept")).to_have_text("92.6 %")
    expect(tile(page, "Frobenius error")).to_have_text("2.15")
    expect(tile(page, "numerical rank")).to_have_text("4")
    before, asked = page.evaluate(PIXELS), len(traffic.asked)

    page.locator(f"{VIEW} .rs-k-slider").focus()
    page.keyboard.press("ArrowRight")

    expect(tile(page, "energy kept")).to_have_text("99.979 %")
    expect(tile(page, "Frobenius error")).to_have_text("0.115")
    expect(tile(page, "numbers to store")).to_have_text("30")
    after = page.evaluate(PIXELS)
    assert after[0] == before[0]  # the original stays
    assert after[1] != before[1]
    assert after[2] != before[2]
    page.keyboard.press("End")
    expect(tile(page, "energy kept")).to_have_text("100 %")
    page.keyboard.press("Home")
    expect(tile(page, "energy kept")).to_have_text("78.4 %")
    assert traffic.asked[asked:] == []
    page.wait_for_url(re.compile(r"sample=teaching&k=1$"))


def test_a_link_shows_the_same_and_so_does_a_reload(server: Server, open_page: OpenPage) -> None:
    page = open_page(f"{server.url}/spectrum?sample=hilbert&k=3")
    opened(page, "Hilbert")
    expect(page.locator(f"{VIEW} .rs-k-number")).to_have_value("3")
    page.reload()
    opened(page, "Hilbert")
    expect(page.locator(f"{VIEW} .rs-k-number")).to_have_value("3")
    expect(page.get_by_label("Hilbert matrix, 128 × 128")).to_be_checked()


def test_typed_numbers_stand_in_the_link(server: Server, open_page: OpenPage) -> None:
    page = open_page(f"{server.url}/spectrum?sample=teaching")
    opened(page, "Teaching matrix")
    page.get_by_role("tab", name="Type").click()
    page.locator("#matrix-text textarea").fill("3 0\n0 2\n0 1")
    page.locator("#take-apart").click()
    expect(page.locator(f"{VIEW} .rs-shape")).to_have_text("3 × 2", timeout=DRAWN_MS)
    page.wait_for_url(re.compile("numbers="))

    page.reload()

    expect(page.locator(f"{VIEW} .rs-shape")).to_have_text("3 × 2", timeout=DRAWN_MS)
    expect(page.locator("#matrix-text textarea")).to_have_value("3 0\n0 2\n0 1")


@pytest.mark.parametrize("typed", ["0", "129", "2.5"])
def test_a_k_that_does_not_exist_is_refused_and_nothing_moves(
    server: Server, open_page: OpenPage, typed: str
) -> None:
    page = open_page(f"{server.url}/spectrum?sample=hilbert&k=3")
    opened(page, "Hilbert")
    page.locator(f"{VIEW} .rs-k-number").fill(typed)
    page.keyboard.press("Enter")
    expect(page.locator(f"{VIEW} .rs-k [role=alert]")).to_contain_text("from 1 to 128")
    expect(page.locator(f"{VIEW} .rs-k-slider")).to_have_value("3")
    page.locator(f"{VIEW} .rs-wish input").fill("101")
    page.keyboard.press("Enter")
    expect(page.locator(f"{VIEW} .rs-k [role=alert]")).to_contain_text("at most 100 %")
    expect(page.locator(f"{VIEW} .rs-k-slider")).to_have_value("3")
    page.locator(f"{VIEW} .rs-k-slider").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(f"{VIEW} .rs-k [role=alert]")).to_be_hidden()
    expect(page.locator(f"{VIEW} .rs-k-number")).to_have_value("4")


def test_a_refused_file_takes_the_earlier_picture_away(
    server: Server, open_page: OpenPage, tmp_path: Path
) -> None:
    (tmp_path / "diary.csv").write_text("Dear diary,today\nit rained,all day\n", "utf-8")
    page = open_page(f"{server.url}/spectrum?sample=teaching")
    opened(page, "Teaching matrix")
    page.get_by_role("tab", name="Upload").click()
    page.locator("#matrix-file input[type=file]").set_input_files(tmp_path / "diary.csv")
    expect(page.locator("#spectrum-tabs .rs-problem").first).to_be_visible(timeout=DRAWN_MS)
    expect(page.locator(VIEW)).to_be_hidden()

    (tmp_path / "pair.csv").write_text("3,0\n0,4\n", "utf-8")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Another file").click()
    chooser.value.set_files(tmp_path / "pair.csv")
    opened(page, "pair")

    page.get_by_role("tab", name="Sample").click()
    page.get_by_label("Hilbert matrix, 128 × 128").check()
    opened(page, "Hilbert")


def test_the_rank_k_picture_is_the_one_numpy_computes(server: Server, open_page: OpenPage) -> None:
    page = open_page(f"{server.url}/spectrum?sample=low-rank-plus-noise&k=8")
    opened(page, "Low rank plus noise")
    page.locator(f"{VIEW} canvas").first.click(position={"x": 5, "y": 5})
    exact = page.locator(f"{VIEW} .rs-exact")
    expect(exact).to_contain_text("rows 1 to 64, columns 1 to 64")
    expect(exact.locator("canvas")).to_have_count(3)


def test_an_uploaded_matrix_is_taken_apart_and_its_table_downloads(
    server: Server, open_page: OpenPage, tmp_path: Path
) -> None:
    values = np.diag([8.0, 6.0, 4.0, 2.0]).astype(np.float32)
    np.save(tmp_path / "four.npy", values)
    page = open_page(f"{server.url}/spectrum")
    opened(page, "Drawn picture")

    page.get_by_role("tab", name="Upload").click()
    page.locator("#matrix-file input[type=file]").set_input_files(tmp_path / "four.npy")

    opened(page, "four")
    page.wait_for_url(re.compile("opened="))
    page.reload()
    opened(page, "four")
    page.locator(f"{VIEW} .rs-k-number").fill("1")
    page.keyboard.press("Enter")
    expect(tile(page, "energy kept")).to_have_text("53.3 %")
    expect(tile(page, "stable rank")).to_have_text("1.88")
    with page.expect_download() as download:
        page.get_by_role("button", name="Table for every k").click()
    lines = Path(download.value.path()).read_text("utf-8").splitlines()
    assert lines[0].startswith("k,singular_value,energy")
    assert [float(line.split(",")[1]) for line in lines[1:]] == pytest.approx([8, 6, 4, 2])
    rank_k = page.get_by_role("link", name="Rank-k matrix")
    expect(rank_k).to_have_attribute("href", re.compile("k=1$"))  # it follows once k rests
    with page.expect_download() as download:
        rank_k.click()
    assert np.load(download.value.path()) == pytest.approx(np.diag([8.0, 0, 0, 0]), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("notes.npy", b"hello", "notes.npy is named as a NumPy array"),
        ("holes.csv", b"1,2\n3,nan\n", "a finite number is needed"),
        ("ragged.csv", b"1,2\n3\n", "line 2"),
    ],
)
def test_a_bad_file_says_what_is_wrong_and_the_matrix_before_stays(
    server: Server, open_page: OpenPage, tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    (tmp_path / name).write_bytes(content)
    page = open_page(f"{server.url}/spectrum?sample=teaching")
    opened(page, "Teaching matrix")

    page.get_by_role("tab", name="Upload").click()
    page.locator("#matrix-file input[type=file]").set_input_files(tmp_path / name)

    expect(page.locator(".rs-problem:visible")).to_contain_text(sentence)
    expect(page.locator(f"{VIEW} h2")).to_contain_text("Teaching matrix")


def test_typed_numbers_are_taken_apart(server: Server, open_page: OpenPage) -> None:
    page = open_page(f"{server.url}/spectrum")
    page.get_by_role("tab", name="Type").click()
    page.locator("#matrix-text textarea").fill("3 0\n0 4")
    page.get_by_role("button", name="Take it apart").click()
    opened(page, "The text")
    expect(tile(page, "numerical rank")).to_have_text("2")
    expect(tile(page, "stable rank")).to_have_text("1.56")


@pytest.fixture(scope="module")
def adapters(server: Server, tiny_llama: Path) -> list[Path]:
    """Two adapters of the tiny model whose updates have 1 and 3 directions of the 4 trained."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folders = []
    for seed, directions in ((1, 1), (2, 3)):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_pretrained(tiny_llama)
        config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])
        adapted = get_peft_model(model, config)
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter)
                parameter.data[:, directions:] = 0
        folders.append(server.data_dir / "adapters" / f"{directions} of 4")
        adapted.save_pretrained(folders[-1])
    return folders


def test_an_adapter_shows_its_map_and_a_cell_its_spectrum(
    server: Server, open_page: OpenPage, adapters: list[Path]
) -> None:
    page = open_page(f"{server.url}/spectrum?adapter={adapters[0]}")
    sentence = "Rank 4 was trained; 1 direction carries 95 % of the update"
    expect(page.locator("#adapter-grid")).to_contain_text(sentence, timeout=DRAWN_MS)
    cells = page.locator("#adapter-grid .rs-grid-cell")
    expect(cells).to_have_count(4)
    expect(page.get_by_role("radio", name="share of the base")).to_be_visible(timeout=DRAWN_MS)

    cells.nth(0).focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")

    expect(page.locator("#adapter-module h3")).to_contain_text("layers.1.self_attn.q_proj")
    page.wait_for_function(
        "document.querySelector('#adapter-spectrum .rs-plot').data?.length === 2"
    )
    page.wait_for_url(re.compile("module=model.layers.1.self_attn.q_proj"))
    page.get_by_role("link", name="See this update at every k").click()
    opened(page, "ΔW of model.layers.1.self_attn.q_proj")
    expect(tile(page, "numerical rank")).to_have_text("1")


def test_an_adapter_is_shown_to_one_who_comes_from_another_page(
    server: Server, open_page: OpenPage, adapters: list[Path]
) -> None:
    """What the browser has kept is drawn sooner: the first tab is selected, and opens its matrix,
    while the adapter of the address is being opened."""
    page = open_page(server.url)
    for _ in range(3):
        page.goto(f"{server.url}/spectrum?adapter={adapters[0]}")
        expect(page.locator("#adapter-grid")).to_contain_text("layer 0", timeout=30_000)


@pytest.mark.parametrize("address", ["adapter=nowhere", "a=nowhere&b=nowhere"])
def test_an_address_that_names_no_adapter_says_so_and_keeps_saying_it(
    server: Server, open_page: OpenPage, address: str
) -> None:
    page = open_page(f"{server.url}/spectrum?{address}")
    problem = page.locator(".rs-problem:visible")
    expect(problem).to_contain_text("There is no adapter 'nowhere'")
    page.wait_for_timeout(1000)  # the tab's own opening answers later
    expect(problem).to_contain_text("There is no adapter 'nowhere'")


def test_two_adapters_are_compared(
    server: Server, open_page: OpenPage, adapters: list[Path]
) -> None:
    page = open_page(f"{server.url}/spectrum?a={adapters[0]}&b={adapters[1]}")
    expect(page.locator("#pair-sentence")).to_contain_text("Of 4 modules", timeout=DRAWN_MS)
    expect(page.locator("#pair-table tbody tr")).to_have_count(4)
    page.wait_for_function(
        "document.querySelector('#pair-phi .rs-plot').data?.[0].z[0].length === 3"
    )
    page.get_by_role("link", name="Combine them").click()
    for adapter in adapters:
        expect(page.get_by_label(f"Weight of {adapter.name}")).to_have_value("1")


def test_no_endpoint_reads_a_file_that_was_not_uploaded(server: Server, tmp_path: Path) -> None:
    np.save(tmp_path / "secret.npy", np.eye(3))
    file = {"path": str(tmp_path / "secret.npy"), "meta": {"_type": "gradio.FileData"}}

    answer = called(server, "svd", [None, 1, file, "", "", "", ""])

    assert "not uploaded" in answer
    assert "singular_values" not in answer
    assert "singular_values" in called(server, "svd", [[[1, 0], [0, 2]], 1, None, "", "", "", ""])


def called(server: Server, name: str, data: list) -> str:
    """The answer of a named endpoint, as its event stream."""
    address = f"{server.url}/gradio_api/call/{name}"
    body, headers = json.dumps({"data": data}).encode(), {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(address, body, headers)) as answer:
        event = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{address}/{event}") as answer:
        return answer.read().decode()


def test_two_checkpoints_show_what_changed_and_its_intruders(
    server: Server, open_page: OpenPage, tiny_llama: Path, tmp_path: Path
) -> None:
    tuned = with_one_strong_direction(tiny_llama, tmp_path / "tuned")
    page = open_page(f"{server.url}/spectrum?base={tiny_llama}&tuned={tuned}")
    grid = page.locator("#checkpoint-grid")
    expect(grid).to_contain_text("1 of", timeout=DRAWN_MS)

    page.get_by_label("Look for intruder dimensions (slower)").check()
    page.get_by_role("button", name="Compare", exact=True).click()
    page.get_by_role("radio", name="intruder dimensions").click(timeout=DRAWN_MS)

    changed = grid.locator(".rs-grid-cell:not([disabled])", has_text=re.compile("^1$"))
    expect(changed).to_have_count(1)


def with_one_strong_direction(base: Path, folder: Path) -> Path:
    """A copy of the model whose first query projection has one direction of its own."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(base, folder)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    weight = tensors["model.layers.0.self_attn.q_proj.weight"]  # (64, 64)
    torch.manual_seed(3)
    weight += (
        20
        * weight.norm()
        * torch.outer(
            torch.nn.functional.normalize(torch.randn(64), dim=0),
            torch.nn.functional.normalize(torch.randn(64), dim=0),
        )
    )
    save_file(tensors, file, {"format": "pt"})
    return folder


def test_the_root_mean_square_view_and_back(server: Server, open_page: OpenPage) -> None:
    page = open_page(f"{server.url}/spectrum?sample=low-rank-plus-noise&k=4")
    opened(page, "Low rank plus noise")
    before = page.evaluate(PIXELS)

    box = page.get_by_label("Root mean square of each tile")
    box.check()
    expect(page.locator(f"{VIEW} figcaption").nth(2)).to_contain_text("root mean square, 0 to")
    assert page.evaluate(PIXELS) != before

    box.uncheck()
    expect(page.locator(f"{VIEW} figcaption").nth(2)).not_to_contain_text("root mean square")
    assert page.evaluate(PIXELS) == before
