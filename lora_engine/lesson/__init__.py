"""What the lesson shows and the workbench has no other use for: made, measured and checked here.

    lora_layer   LoRA from scratch in one layer
    layer_check  the same beside PEFT's
    step_by_hand one step of gradient descent with every number on the way

It knows no page; torch loads when something is computed.
"""

from lora_engine.lesson.layer_check import LayerCheck, compare_with_peft, layer_source
from lora_engine.lesson.step_by_hand import HandStep, hand_step

__all__ = ["HandStep", "LayerCheck", "compare_with_peft", "hand_step", "layer_source"]
