"""What the lesson shows and the workbench has no other use for: made, measured and checked here.

    lora_layer   LoRA from scratch in one layer
    layer_check  the same beside PEFT's
    hand_step    one step of gradient descent with every number on the way

It knows no page; torch loads when something is computed.
"""

from lora_engine.lesson.hand_step import HandStep, hand_step
from lora_engine.lesson.layer_check import LayerCheck, compare_with_peft, layer_source

__all__ = ["HandStep", "LayerCheck", "compare_with_peft", "hand_step", "layer_source"]
