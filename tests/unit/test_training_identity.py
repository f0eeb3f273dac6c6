"""What makes two specs the same run."""

from __future__ import annotations

from lora_engine.spec import spec_from
from lora_engine.training.checkpointing.identity import (
    RunIdentity,
    identity_changes,
    spec_fields,
    spec_hash,
)


def test_the_hash_tells_what_bears_on_the_weights_and_nothing_else():
    plain = spec_hash(spec_from({}))
    assert spec_hash(spec_from({"name": "another"})) == plain
    assert spec_hash(spec_from({"seed": 1})) != plain
    assert spec_hash(spec_from({"method": {"rank": 4}})) != plain


def test_a_default_that_is_spelled_out_changes_nothing():
    spelled = spec_from({"method": {"rank": 8}, "optimization": {"batch_size": 8}})
    assert spec_hash(spelled) == spec_hash(spec_from({}))


def identity(document, **changes):
    spec = spec_from(document)
    plain = {"spec_hash": spec_hash(spec), "data_hash": "d", "base_fingerprint": "b"}
    return RunIdentity(**{**plain, "spec_fields": spec_fields(spec), **changes})


def test_a_field_that_a_checkpoint_does_not_know_is_at_its_default():
    """As if `row_order` had come after the checkpoint was written."""
    was = identity({"optimization": {"max_steps": 4}})
    assert identity_changes(was, identity({"optimization": {"max_steps": 4}})) == []
    set_now = identity({"optimization": {"max_steps": 4, "row_order": "by_length"}})
    (words,) = identity_changes(was, set_now)
    assert words == 'the spec\'s optimization.row_order (its default then, "by_length" now)'


def test_each_change_is_named_with_both_values():
    was = identity({"method": {"rank_pattern": {"q_proj": 4}}, "seed": 1})
    now = identity({"method": {"rank_pattern": {"q_proj": 2}}, "quantization": {}}, data_hash="x")
    assert identity_changes(was, now) == [
        "the spec's method.rank_pattern.q_proj (4 then, 2 now)",
        "the spec's seed (1 then, its default now)",
        "the spec's quantization (its default then, {} now)",
        "the dataset",
    ]


def test_a_checkpoint_of_before_the_fields_were_kept_has_its_hash():
    was = identity({"seed": 1}, spec_fields=None)
    assert identity_changes(was, identity({"seed": 1})) == []
    assert identity_changes(was, identity({"seed": 2}, base_fingerprint="x")) == [
        "the spec",
        "the base model",
    ]
