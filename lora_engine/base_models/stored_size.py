"""Whether a model's files can hold the weights that its config.json describes.

transformers makes up every weight that is missing, in memory: a small folder whose config names
large sizes would fill the machine before anybody could say what is wrong.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_engine.base_models.find import BaseModel
from lora_engine.base_models.weight_files import weight_files
from lora_engine.errors import EngineError
from lora_engine.language import tr

if TYPE_CHECKING:
    from transformers import PretrainedConfig

SPARE_NUMBERS = 1 << 25  # a new head, tables that the model computes
QUANTIZED_NUMBERS_A_BYTE = 4  # of two bits each


def refuse_larger_than_stored(
    auto: Any, base: BaseModel, config: PretrainedConfig, folder: Path, is_quantized: bool
) -> None:
    """Raises EngineError where the model has far more numbers than its files have bytes.

    auto: the class of transformers that loads it. A config that makes no model is left to that.
    """
    import torch

    try:
        with torch.device("meta"):
            own = copy.deepcopy(config)  # building writes into it
            model = auto.from_config(own, trust_remote_code=False, dtype=torch.float32)
    except (ImportError, ValueError, TypeError, LookupError, AttributeError, RuntimeError):
        return
    numbers = sum(parameter.numel() for parameter in model.parameters())
    stored = sum(file.path.stat().st_size for file in weight_files(folder))
    a_byte = QUANTIZED_NUMBERS_A_BYTE if is_quantized else 1
    if numbers > a_byte * stored + SPARE_NUMBERS:
        raise EngineError(
            tr(
                "config.json of {name} describes a model of {numbers} numbers, and its "
                "safetensors files have {stored} bytes.",
                name=f"{base.name!r}",
                numbers=f"{numbers:,}",
                stored=f"{stored:,}",
            ),
            tr("Give a model folder whose config.json and safetensors weights are of one model."),
        )
