"""Which devices runs take turns on."""

import pytest

from lora_engine.devices import list_devices
from lora_engine.environment import load_settings
from lora_engine.runs.launcher import worker_environment
from lora_engine.settings import Settings


@pytest.mark.parametrize(
    ("setting", "visible", "cards", "expected"),
    [
        ("auto", None, 0, ["cpu"]),
        ("auto", None, 2, ["0", "1"]),
        ("auto", "3,5", 8, ["3", "5"]),
        ("auto", "", 2, ["cpu"]),
        ("auto", "-1", 2, ["cpu"]),
        ("cpu", None, 2, ["cpu"]),
        ("cuda", "GPU-8a1b", 1, ["GPU-8a1b"]),
        ("mps", None, 2, ["cpu"]),
    ],
)
def test_devices_come_from_the_driver_or_from_the_environment(
    tmp_path, setting, visible, cards, expected
):
    for number in range(cards):
        (tmp_path / f"0000:0{number}:00.0").mkdir()
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert list_devices(Settings(device=setting), environment, tmp_path) == expected


def test_a_worker_sees_its_card_alone_and_none_of_our_secrets():
    surroundings = {"PATH": "/bin", "HF_TOKEN": "hf_secret", "CUDA_VISIBLE_DEVICES": "3,5"}
    given = worker_environment(surroundings, Settings(), "5")
    assert given["CUDA_VISIBLE_DEVICES"] == "5"
    assert given["PATH"] == "/bin"
    assert "HF_TOKEN" not in given


def test_a_worker_reads_its_settings_back_and_nothing_of_who_may_sign_in(tmp_path):
    settings = Settings(
        data_dir=tmp_path, models_dir=tmp_path / "m", device="cpu", token="t" * 20, max_cache_mb=7
    )
    given = worker_environment({}, settings, "cpu")
    assert not any("t" * 20 in value or "***" in value for value in given.values())
    for one in (settings, Settings(data_dir=tmp_path)):  # one with a token and one without
        read = load_settings(worker_environment({}, one, "cpu"))
        assert (read.data_dir, read.max_cache_mb, read.token) == (tmp_path, one.max_cache_mb, None)
