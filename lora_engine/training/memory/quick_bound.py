"""A bound on a run's memory that costs nothing to find: from config.json and the files' sizes.

It is several times what a run needs. Where there is that much, nobody has to ask the calculator,
which loads torch. Knows nothing of the data's rows.
"""

from __future__ import annotations

from lora_engine.base_models import read_config, resolve_base_model
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec

PROCESS_BYTES = 1 << 30
# Of one byte of the files: in float32, with gradients and two moments, beside the mapped files.
WEIGHTS = 10
# Numbers of one token that stay for the backward pass, of a layer and of the logits.
OF_WIDTH, OF_INNER, OF_VOCABULARY, NUMBER_BYTES = 40, 8, 6, 4


def generous_bytes(spec: RunSpec, settings: Settings) -> int | None:
    """More than the run can need; None where the model is not here or says too little of itself.

    Raises EngineError for a base model that is not there.
    """
    base = resolve_base_model(spec.base_model, settings)
    if base.path is None:
        return None
    config = read_config(base.path)
    of_text = config.get("text_config")
    shape = of_text if isinstance(of_text, dict) else config
    layers, width = shape.get("num_hidden_layers"), shape.get("hidden_size")
    vocabulary, inner = shape.get("vocab_size"), shape.get("intermediate_size")
    if not (isinstance(layers, int) and isinstance(width, int) and isinstance(vocabulary, int)):
        return None
    of_layer = OF_WIDTH * width + OF_INNER * (inner if isinstance(inner, int) else 4 * width)
    numbers = layers * of_layer + OF_VOCABULARY * vocabulary
    longest = spec.optimization.max_length + spec.method.added_tokens
    tokens = spec.optimization.batch_size * longest
    files = sum(path.stat().st_size for path in base.path.glob("*.safetensors"))
    return PROCESS_BYTES + WEIGHTS * files + NUMBER_BYTES * numbers * tokens
