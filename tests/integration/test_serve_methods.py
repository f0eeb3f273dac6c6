"""The endpoint's models: an adapter's virtual tokens count towards the context."""

import pytest

from lora_engine.adapters.library import AdapterLibrary
from lora_engine.compare.service import Comparisons
from lora_engine.serve.api_errors import ApiError
from lora_engine.serve.api_requests import CompletionRequest
from lora_engine.serve.served_models import ServedModels
from tests.compare_models import save_base, save_method_adapter


def test_virtual_tokens_take_room_of_an_answer(settings, tmp_path):
    base = save_base(tmp_path / "base", "gpt2")
    save_method_adapter(settings.data_dir / "adapters" / "soft", base, "prompt")
    chosen = settings.model_copy(update={"api_base": str(base.path)})
    models = ServedModels(chosen, Comparisons(chosen), AdapterLibrary(chosen))
    context = models.shared().context_length

    def limit(name, tokens):
        request = CompletionRequest(model=name, prompt=[5] * tokens, max_tokens=100)
        (generation,) = models.completions(request)
        return generation.row.token_limit

    plain = models.base.name
    assert limit(plain, context - 10) == 10
    assert limit("soft", context - 10) == 5
    with pytest.raises(ApiError, match="puts 5 before it; "):
        limit("soft", context - 2)
