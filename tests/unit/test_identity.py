"""What makes two specs the same run."""

from __future__ import annotations

from lora_engine.training.identity import spec_hash
from lora_engine.training.spec import spec_from


def test_the_hash_tells_what_bears_on_the_weights_and_nothing_else():
    plain = spec_hash(spec_from({}))
    assert spec_hash(spec_from({"name": "another"})) == plain
    assert spec_hash(spec_from({"seed": 1})) != plain
    assert spec_hash(spec_from({"method": {"rank": 4}})) != plain


def test_a_default_that_is_spelled_out_changes_nothing():
    spelled = spec_from({"method": {"rank": 8}, "optimization": {"batch_size": 8}})
    assert spec_hash(spelled) == spec_hash(spec_from({}))
