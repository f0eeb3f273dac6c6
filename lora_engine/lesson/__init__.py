"""What the lesson shows and the workbench has no other use for: made, measured and checked here.

    lora_layer   LoRA from scratch in one layer
    layer_check  the same beside PEFT's

It knows no page; torch loads when something is computed.
"""

from lora_engine.lesson.layer_check import LayerCheck, compare_with_peft, layer_source

__all__ = ["LayerCheck", "compare_with_peft", "layer_source"]
