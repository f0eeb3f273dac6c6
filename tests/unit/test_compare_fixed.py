"""Which adapters have no strength and no layers to change, told from their configuration."""

import pytest

from lora_engine.compare.generate.compatibility import fixed_because
from lora_engine.compare.service import Comparisons
from tests.compare_models import VIRTUAL_TOKENS, save_adapter, save_base, save_method_adapter


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("fixed") / "base")


@pytest.mark.parametrize("method", VIRTUAL_TOKENS)
def test_virtual_tokens_are_there_or_not(base, tmp_path, method):
    assert "trained tokens" in fixed_because(save_method_adapter(tmp_path / "a", base, method))


@pytest.mark.parametrize("method", ["ia3", "bottleneck"])
def test_modules_of_other_methods_have_a_strength(base, tmp_path, method):
    assert fixed_because(save_method_adapter(tmp_path / "a", base, method)) == ""


def test_lora_has_one_and_dora_has_not(base, tmp_path, settings):
    plain = save_adapter(tmp_path / "plain", base)
    dora = save_adapter(tmp_path / "dora", base, use_dora=True)
    assert fixed_because(plain) == ""
    found = Comparisons(settings).fixed([str(plain), str(dora), str(tmp_path / "gone")])
    assert list(found) == [str(dora)]
