"""Puts a checked adapter's weights into the adapter that a run trains, and proves that they are in.

PEFT loads what fits and leaves out the rest. Here every tensor of the file must be one that the
run trains, and the other way round. Knows nothing of how the adapter was found or checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lora_engine.adapters import AdapterCheck
from lora_engine.adapters.config import WEIGHTS_FILE
from lora_engine.adapters.weights_keys import PREFIX
from lora_engine.errors import EngineError
from lora_engine.language import tr

if TYPE_CHECKING:
    import torch
    from peft import PeftModel

MAGNITUDE = ".lora_magnitude_vector"  # PEFT writes it with and without `.weight`


def load_starting_weights(model: PeftModel, adapter: AdapterCheck) -> None:
    """Set every weight that `model` trains to the adapter's, in the model's own type.

    Raises EngineError where one of the two has a tensor that the other has not.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    tensors = load_file(adapter.path / WEIGHTS_FILE)
    its_own = [key for key in tensors if key not in set(adapter.keys.embeddings.values())]
    given = {_plain(key): tensors[key] for key in its_own}
    before = {_plain(key) for key in get_peft_model_state_dict(model, save_embedding_layers=False)}
    if before != set(given):
        _refuse(adapter, sorted(set(given) - before), sorted(before - set(given)))
    set_peft_model_state_dict(model, {PREFIX + key: value for key, value in given.items()})
    after = get_peft_model_state_dict(model, save_embedding_layers=False)
    wrong = [key for key, value in after.items() if not _same(value, given[_plain(key)])]
    assert not wrong, f"PEFT did not load {wrong[:3]}"


def _plain(key: str) -> str:
    key = key.removeprefix(PREFIX)
    return key.removesuffix(".weight") if key.endswith(f"{MAGNITUDE}.weight") else key


def _same(own: torch.Tensor, given: torch.Tensor) -> bool:
    return bool((own.cpu() == given.to(own.dtype)).all())


def _refuse(adapter: AdapterCheck, unexpected: list[str], missing: list[str]) -> None:
    differ = []
    if unexpected:
        differ.append(tr("not trained here {names}", names=_some(unexpected)))
    if missing:
        differ.append(tr("not in it {names}", names=_some(missing)))
    raise EngineError(
        tr(
            "The run trains other weights than {path} holds: {differ}.",
            path=adapter.path,
            differ="; ".join(differ),
        ),
        tr(
            "Go on from an adapter that adapts what this version of the libraries adapts in "
            "this base."
        ),
    )


def _some(names: list[str]) -> str:
    listed = ", ".join(names[:3])
    return tr("{names} and more", names=listed) if len(names) > 3 else listed
