"""Which URLs name a storage of Ray jobs, and how it is opened."""

from __future__ import annotations

import sys

import pytest

from lora_engine.environment import load_settings
from lora_engine.errors import EngineError, InvalidInput
from lora_engine.runs.launchers import refuse_unconfigured
from lora_engine.runs.launchers.ray.storage import open_storage
from lora_engine.spec import ExtensionSpec, RunSpec


@pytest.mark.parametrize("url", ["nosuch", "s3://key:secret@bucket", "file://a::zip://b", "s3://"])
def test_a_url_of_another_form_is_refused_by_the_settings(url):
    with pytest.raises(InvalidInput) as error:
        load_settings({"LORA_RAY_STORAGE": url})
    assert error.value.problems[0].path == "LORA_RAY_STORAGE"


def test_a_storage_that_does_not_open_is_a_sentence_at_submission(settings, monkeypatch):
    ray = settings.model_copy(update={"ray_address": "http://127.0.0.1:9"})
    spec = RunSpec(launcher="ray")
    for url in ("nosuch://a", "memory://a", "file://relative/a"):
        with pytest.raises(EngineError) as error:
            refuse_unconfigured(spec, ray.model_copy(update={"ray_storage": url}))
        assert url in error.value.problem
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as where it is not installed
    with pytest.raises(EngineError) as error:
        refuse_unconfigured(spec, ray.model_copy(update={"ray_storage": "s3://bucket/a"}))
    assert "s3fs" in error.value.problem
    extended = spec.model_copy(update={"extended_from": ExtensionSpec(run="b", step=1, steps=2)})
    with pytest.raises(EngineError):
        refuse_unconfigured(extended, ray.model_copy(update={"ray_storage": "file:///tmp/a"}))


def test_a_storage_of_objects_is_told_nothing_that_only_a_disk_knows(monkeypatch):
    """s3fs hands what it does not know to a session that refuses it."""
    told = {}

    def url_to_fs(url: str, **options):
        told[url] = options
        return None, "a"

    monkeypatch.setattr("fsspec.core.url_to_fs", url_to_fs)
    open_storage("s3://bucket/a")
    open_storage("file:///a")
    assert "auto_mkdir" not in told["s3://bucket/a"]
    assert told["file:///a"]["auto_mkdir"]
