"""The spectrum page without a browser: the cache, background work, routes, values, endpoints."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from safetensors.numpy import save_file

from lora_engine.access import Person, acting_as
from lora_engine.cancellation import Stopped
from lora_engine.errors import EngineError, NotFound
from lora_engine.quotas import QuotaExceeded
from lora_engine.settings import Settings
from lora_engine.spectrum import decompose, pool
from lora_engine.weights.matrix import array_matrix
from pages.shared.background_work import TabTask
from pages.spectrum.api import svd_endpoint
from pages.spectrum.matrix_cache import MatrixCache, OpenMatrix
from pages.spectrum.matrix_source import MatrixChoice, matrices_of, open_choice
from pages.spectrum.matrix_view import view_value
from pages.spectrum.module_grid import Cell, Measure, grid_value, place
from pages.spectrum.routes import ADDRESS, add_routes
from pages.spectrum.two_adapters_tab import Pair, comparing

TEACHING_ENERGY = (0.78352, 0.92638, 0.99979141)  # of the 5 x 5 teaching matrix, NUMERICS.md


def put(cache: MatrixCache, values: np.ndarray) -> OpenMatrix:
    source = array_matrix(values, "matrix")
    found = decompose(source)
    return cache.put(source, found, pool(source, found, 16, 16, 64))


@pytest.fixture
def teaching() -> np.ndarray:
    source = open_choice(None, MatrixChoice("sample", "teaching"))
    return source.rows(0, 5)


@pytest.fixture
def routes() -> tuple[MatrixCache, TestClient]:
    app, cache = FastAPI(), MatrixCache()
    add_routes(app, cache)
    return cache, TestClient(app)


def test_the_shelf_lets_the_longest_unused_go_and_keeps_the_newest(teaching: np.ndarray) -> None:
    cache = MatrixCache(max_matrices=2)
    first, second = put(cache, teaching), put(cache, teaching)
    cache.get(first.id)
    third = put(cache, teaching)

    assert cache.get(first.id) is first
    assert cache.get(third.id) is third
    with pytest.raises(NotFound, match="no longer in the server's memory"):
        cache.get(second.id)


def test_the_shelf_is_bounded_in_bytes(teaching: np.ndarray) -> None:
    size = put(MatrixCache(), teaching).bytes
    cache = MatrixCache(max_bytes=size)
    first, second = put(cache, teaching), put(cache, teaching)

    assert cache.get(second.id) is second
    assert cache.bytes == size
    with pytest.raises(NotFound):
        cache.get(first.id)
    with pytest.raises(QuotaExceeded, match="LORA_MAX_MATRICES_MB"):
        put(MatrixCache(max_bytes=size - 1), teaching)


def test_whoever_holds_the_most_makes_room(teaching: np.ndarray) -> None:
    cache = MatrixCache(max_matrices=3)
    with acting_as(Person("anna", "run")):
        of_anna = put(cache, teaching)
    with acting_as(Person("ben", "run")):
        first, second, third = (put(cache, teaching) for _ in range(3))

    assert cache.get(of_anna.id) is of_anna
    assert [cache.get(one.id) for one in (second, third)] == [second, third]
    with pytest.raises(NotFound):
        cache.get(first.id)


def test_a_view_carries_every_k_and_the_known_answers(teaching: np.ndarray) -> None:
    matrix = put(MatrixCache(), teaching)

    content = json.loads(view_value(matrix, 2, {"sample": "teaching"}))

    energy = np.frombuffer(base64.b64decode(content["curves"]["energy"]), "<f8")
    error = np.frombuffer(base64.b64decode(content["curves"]["error"]), "<f8")
    assert energy[:3] == pytest.approx(TEACHING_ENERGY, abs=1e-5)
    assert error[3] == pytest.approx(0.114634848, abs=1e-8)
    assert content["k"] == 2
    assert content["marks"] == [
        {"share": 0.9, "k": 2}, {"share": 0.95, "k": 3}, {"share": 0.99, "k": 3},
    ]  # fmt: skip
    assert [title for title, _, _ in content["ranks"]] == [
        "numerical rank", "stable rank", "effective rank",
    ]  # fmt: skip
    assert content["noise"] is None


def test_the_sent_factors_give_the_pooled_rank_k(routes: tuple[MatrixCache, TestClient]) -> None:
    cache, client = routes
    values = np.random.default_rng(0).standard_normal((40, 24))
    matrix = put(cache, values)

    body = client.get(f"{ADDRESS}/{matrix.id}/factors").content

    numbers = np.frombuffer(body, "<f4")
    picture, rest = numbers[:256].reshape(16, 16), numbers[256:]
    left, right = rest[: 24 * 16].reshape(24, 16), rest[24 * 16 :].reshape(24, 16)
    assert left.T @ right == pytest.approx(picture, abs=1e-5)  # all ranks give the matrix itself
    near = left[:5].T @ right[:5]
    u, s, vt = np.linalg.svd(values)
    rank_5 = (u[:, :5] * s[:5]) @ vt[:5]
    assert near[0, 0] == pytest.approx(rank_5[:2, :2].mean(), abs=1e-5)  # edges 0, 2 and 0, 2


def test_windows_tiles_and_files_are_exact(routes: tuple[MatrixCache, TestClient]) -> None:
    cache, client = routes
    values = np.diag([8.0, 6.0, 4.0, 2.0])
    address = f"{ADDRESS}/{put(cache, values).id}"

    window = client.get(f"{address}/window?k=1&row=0&column=0&size=2").json()
    assert np.frombuffer(base64.b64decode(window["rank_k"]), "<f4").tolist() == [8, 0, 0, 0]
    assert np.frombuffer(base64.b64decode(window["difference"]), "<f4").tolist() == [0, 0, 0, 6]
    tiles = client.get(f"{address}/tiles?k=2").json()
    assert (tiles["height"], tiles["width"]) == (4, 4)
    factors = np.load(io.BytesIO(client.get(f"{address}/factors.npz?k=2").content))
    assert factors["singular_values"].tolist() == pytest.approx([8, 6])
    rank_k = np.load(io.BytesIO(client.get(f"{address}/rank-k.npy?k=2").content))
    assert rank_k == pytest.approx(np.diag([8.0, 6, 0, 0]))


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("{id}/window?k=0&row=0&column=0", 400, "k is 0"),
        ("{id}/window?k=1&row=9&column=0", 400, "does not fit"),
        ("{id}/factors.npz?k=99", 400, "k is 99"),
        ("nobody/tiles?k=1", 404, "no longer in the server's memory"),
    ],
)
def test_the_routes_say_what_is_wrong(
    routes: tuple[MatrixCache, TestClient], teaching: np.ndarray, path: str, status: int, words: str
) -> None:
    cache, client = routes
    matrix = put(cache, teaching)

    answer = client.get(f"{ADDRESS}/{path.format(id=matrix.id)}")

    assert answer.status_code == status
    assert words in answer.json()["problem"]
    assert answer.json()["remedy"]


@pytest.mark.parametrize(
    ("module", "found"),
    [
        ("model.layers.3.mlp.up_proj", ("model.layers", "3", "mlp.up_proj")),
        ("transformer.h.0.attn.c_attn", ("transformer.h", "0", "attn.c_attn")),
        ("lm_head", ("", "outside", "lm_head")),
    ],
)
def test_a_module_has_its_place_on_the_map(module: str, found: tuple[str, str, str]) -> None:
    assert place(module) == found


def test_the_map_names_both_stacks_where_there_are_two() -> None:
    cells = [Cell("encoder.layers.0.q", {"norm": 1.0}), Cell("decoder.layers.0.q", {"norm": None})]

    content = json.loads(grid_value(cells, [Measure("norm", "norm", "")], sentence="", state={}))

    assert [cell["row"] for cell in content["cells"]] == ["encoder.layers 0", "decoder.layers 0"]


def test_a_file_without_a_matrix_says_what_it_holds(tmp_path) -> None:
    np.save(tmp_path / "vector.npy", np.arange(4.0))
    with pytest.raises(EngineError, match="vector"):
        matrices_of(str(tmp_path / "vector.npy"))


def test_the_svd_endpoint_answers_and_refuses(settings: Settings) -> None:
    svd = svd_endpoint(SimpleNamespace(settings=settings))

    answer = svd([[3.0, 0.0], [0.0, 4.0]], 1)
    assert answer["singular_values"] == pytest.approx([4, 3])
    assert answer["energy"] == pytest.approx(16 / 25)
    assert (svd([[3.0, 0.0], [0.0, 4.0]])["k"], svd(sample="teaching")["k"]) == (2, 3)
    assert svd(sample="teaching", k=3)["energy"] == pytest.approx(TEACHING_ENERGY[2])
    for wrong in ([[1.0], [1.0, 2.0]], [["a"]], [1.0], [[True]], [[float("nan")]]):
        with pytest.raises(EngineError):
            svd(wrong, 1)
    with pytest.raises(EngineError, match="not an upload"):
        svd(file={"path": "/etc/passwd"})
    with pytest.raises(EngineError, match="More than one"):
        svd([[1.0]], 1, sample="teaching")


def test_comparing_adapters_ends_with_its_task(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        config = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["q"]}
        (tmp_path / name / "adapter_config.json").write_text(json.dumps(config))
        factors = {"q.lora_A.weight": np.ones((1, 2)), "q.lora_B.weight": np.ones((2, 1))}
        save_file(factors, tmp_path / name / "adapter_model.safetensors")
    task = TabTask()
    task.set()

    compare = comparing(Pair("a", "b", "delta-left"), tmp_path / "a", tmp_path / "b")
    with pytest.raises(Stopped):
        compare(lambda *_: None, task)
