"""Settings from the environment, and the sentence a wrong one gets."""

import pytest

from lora_engine.environment import load_settings
from lora_engine.errors import InvalidInput


def test_models_live_beside_the_data_unless_said_otherwise(tmp_path):
    assert load_settings({"LORA_DATA_DIR": str(tmp_path)}).models_dir == tmp_path / "models"


def test_hosts_are_split_at_commas():
    settings = load_settings({"LORA_ALLOWED_HOSTS": "a.example, b.example"})
    assert settings.allowed_hosts == ("a.example", "b.example")


def test_every_wrong_variable_is_named():
    with pytest.raises(InvalidInput) as caught:
        load_settings({"LORA_DEVICE": "tpu", "LORA_MAX_UPLOAD_MB": "much"})
    assert {p.path for p in caught.value.problems} == {"LORA_DEVICE", "LORA_MAX_UPLOAD_MB"}
