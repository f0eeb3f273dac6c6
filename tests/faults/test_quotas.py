"""What is more than a quota allows is refused in words, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from lora_engine.access import Person, acting_as
from lora_engine.adapters.library import AdapterLibrary
from lora_engine.data.uploads import list_uploads, save_upload
from lora_engine.errors import EngineError
from lora_engine.quotas import QueueQuota, QuotaExceeded
from lora_engine.runs.states import RunState
from lora_engine.runs.store import RunStore
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec
from lora_engine.starter import ADAPTERS_DIR
from pages.shared.uploads import UploadRoom, delete_what_is_cut_off, once_read, unless_refused

ANNA, BEN = Person("anna", "run"), Person("ben", "run")
SPEC = RunSpec.model_validate(
    {"name": "r", "base_model": "starter", "dataset": {"source": "starter:pirate"}}
)


def settings_of(folder: Path, **limits: int) -> Settings:
    return Settings(data_dir=folder / "data", models_dir=folder / "models", **limits)


def text_of(folder: Path, size: int, letter: str = "x") -> Path:
    file = folder / f"{letter}.txt"
    file.write_text(letter * size)
    return file


def test_what_others_uploaded_counts_and_stays_unnamed(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, max_datasets_mb=1)
    with acting_as(ANNA):
        save_upload(text_of(tmp_path, 700_000), "secret.txt", settings)
    with acting_as(BEN), pytest.raises(QuotaExceeded) as refused:
        save_upload(text_of(tmp_path, 700_000, "y"), "mine.txt", settings)
    said = str(refused.value)
    assert "0.7 MB of the 1 MB" in said
    assert "LORA_MAX_DATASETS_MB" in said
    assert "secret" not in said
    with acting_as(BEN):
        assert list_uploads(settings) == []


def test_each_person_has_a_share_of_datasets_and_adapters(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, max_person_mb=1)
    with acting_as(ANNA):
        save_upload(text_of(tmp_path, 700_000), "a.txt", settings)
        with pytest.raises(QuotaExceeded, match="LORA_MAX_PERSON_MB"):
            save_upload(text_of(tmp_path, 700_000, "y"), "b.txt", settings)
        with pytest.raises(QuotaExceeded, match="your datasets and adapters"):
            AdapterLibrary(settings).add_upload(zipped(tmp_path, 400_000), "big.zip")
        assert len(list_uploads(settings)) == 1
    for other in (BEN, None):  # whoever sits at the machine has all of it
        with acting_as(other) if other else acting_as(Person("local", "manage")):
            assert save_upload(text_of(tmp_path, 700_000, "y"), "b.txt", settings).size == 700_000
    assert not (settings.data_dir / "adapters" / "big").exists()


def test_two_uploads_at_once_do_not_share_the_last_room(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, max_datasets_mb=1)
    files = [text_of(tmp_path, 700_000, letter) for letter in "abcd"]

    def upload(file: Path) -> bool:
        try:
            save_upload(file, file.name, settings)
        except QuotaExceeded:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(upload, files)) == 1


def test_adapters_that_do_not_fit_are_not_kept(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, max_adapters_mb=1)
    library = AdapterLibrary(settings)
    with pytest.raises(QuotaExceeded, match="LORA_MAX_ADAPTERS_MB"):
        library.add_upload(zipped(tmp_path, 900_000), "big.zip")
    assert not [one for one in (settings.data_dir / "adapters").iterdir() if one.name[0] != "."]


def zipped(folder: Path, most: int) -> Path:
    """An adapter of the program's own, with a README that makes it larger."""
    target = folder / "big.zip"
    source = next(one for one in ADAPTERS_DIR.iterdir() if (one / "adapter_config.json").is_file())
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for file in ("adapter_config.json", "adapter_model.safetensors"):
            archive.write(source / file, file)
        archive.writestr("README.md", "words " * (most // 6))
    return target


@pytest.mark.parametrize("resumed", [False, True], ids=["new", "resumed"])
def test_a_full_queue_takes_no_run(tmp_path: Path, resumed: bool) -> None:
    store = RunStore(tmp_path / "runs.db", quota=QueueQuota(most=4, most_a_person=2))
    with acting_as(ANNA):
        store.add_all({"a": SPEC, "b": SPEC})
        if resumed:
            store.move("a", [RunState.QUEUED], RunState.PAUSED)
            store.add_all({"c": SPEC})
        with pytest.raises(QuotaExceeded, match="2 of anna already wait"):
            store.requeue(["a"]) if resumed else store.add("d", SPEC)
        waiting = {one.id for one in store.queue()}
    assert waiting == ({"b", "c"} if resumed else {"a", "b"})
    store.add_all({"e": SPEC, "f": SPEC})
    with pytest.raises(QuotaExceeded, match="4 already wait.*LORA_MAX_QUEUED"):
        store.add("g", SPEC)
    assert store.waiting() == {"anna": 2, "local": 2}


def test_a_sweep_is_queued_whole_or_not_at_all(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs.db", quota=QueueQuota(most=2, most_a_person=9))
    with pytest.raises(QuotaExceeded, match="3 runs"):
        store.add_all(dict.fromkeys("abc", SPEC), sweep="s")
    assert store.list() == []


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of uploads, with one upload in it."""
    folder = tmp_path / "data" / "gradio"
    (folder / "hash").mkdir(parents=True)
    (folder / "hash" / "file.json").write_text("{")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    return folder


def test_an_upload_is_deleted_once_it_is_read_or_refused(uploads: Path) -> None:
    file = uploads / "hash" / "file.json"
    with pytest.raises(EngineError, match="broken"), once_read(str(file)):
        raise EngineError("broken", "")
    assert list(uploads.iterdir()) == []
    with pytest.raises(EngineError, match="not here any more"), once_read(str(file)):
        pass


def test_a_file_that_may_be_read_again_goes_where_it_is_refused(uploads: Path) -> None:
    file = uploads / "hash" / "file.json"
    with unless_refused(file):
        pass
    assert file.exists()
    with pytest.raises(EngineError), unless_refused(file):
        raise EngineError("broken", "")
    assert not file.exists()


def test_what_is_no_upload_is_never_deleted(uploads: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    own.write_text("{}")
    with once_read(str(own)):
        pass
    assert own.exists()


def test_an_upload_that_is_cut_off_leaves_no_part(
    uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradio import route_utils  # noqa: TID251 - what reads uploads for the pages

    monkeypatch.setattr(route_utils, "GradioMultiPartParser", route_utils.GradioMultiPartParser)
    delete_what_is_cut_off()
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\n'
    messages = [{"type": "http.request", "body": head + b"x" * 99_999, "more_body": True}]

    async def receive() -> dict:
        await asyncio.sleep(0)
        return messages.pop() if messages else {"type": "http.disconnect"}

    headers = [(b"content-type", b"multipart/form-data; boundary=b")]
    request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
    with pytest.raises(ClientDisconnect):
        asyncio.run(route_utils.upload_fn(request, uploads, 10**6, None))
    assert [one.name for one in uploads.iterdir()] == ["hash"]


def test_an_upload_is_refused_before_it_is_read_where_many_lie_unread(uploads: Path) -> None:
    async def taken(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(len(await request.body())))

    settings = settings_of(uploads.parents[1], max_waiting_uploads_mb=1)
    app = Starlette(routes=[Route("/gradio_api/upload", taken, methods=["POST"])])
    client = TestClient(UploadRoom(app, settings))
    assert client.post("/gradio_api/upload", content=b"x" * 900_000).text == "900000"
    (uploads / "other").write_bytes(b"x" * 900_000)
    answer = client.post("/gradio_api/upload", content=b"x" * 900_000)
    assert answer.status_code == 413
    assert "LORA_MAX_WAITING_UPLOADS_MB" in answer.text
