"""What trains: a base model with an adapter on it, or the base model itself.

assemble        from a prepared run to its model and its forward path
trained_model   the protocol of both, and their checkpoint tensors
adapter_model   an adapter on a frozen base, saved for PEFT
other_model     an adapter that is not LoRA: virtual tokens, IA³, VeRA, LoHa, bottlenecks
whole_model     full fine-tuning, of all layers or the last ones
classifier      an encoder with a new classification head
lora_init       initial A and B: PiSSA, OLoRA, LoftQ, EVA
rank_bounds     ranks that are too large for their weight
"""
