"""The train page's address: every field a spec changes travels, and comes back as it was."""

from urllib.parse import parse_qsl, urlsplit

from lora_engine.training.spec import spec_from
from pages.train_address import address_of, opening_spec, spec_in_address


class Request:
    def __init__(self, address: str) -> None:
        self.query_params = dict(parse_qsl(urlsplit(address).query))


def test_method_quantization_and_steps_arrive():
    spec = spec_from(
        {
            "base_model": "org/name",
            "method": {"rank": 32, "alpha": 64.0, "target_modules": ["q_proj"], "use_dora": True},
            "quantization": {"double": False},
            "optimization": {
                "optimizer": "paged_adamw_8bit",
                "batch_size": 1,
                "gradient_accumulation": 16,
                "max_length": 2048,
                "gradient_checkpointing": True,
                "precision": "bfloat16",
            },
        }
    )
    arrived = spec_in_address(None, Request(address_of(spec)))
    assert arrived.method == spec.method
    assert arrived.quantization == spec.quantization
    rate = opening_spec().optimization.learning_rate
    assert arrived.optimization == spec.optimization.model_copy(update={"learning_rate": rate})
    assert (arrived.base_model, arrived.dataset) == (spec.base_model, opening_spec().dataset)


def test_what_the_page_shows_anyway_is_left_out():
    assert urlsplit(address_of(opening_spec())).query == "base_model=starter"
