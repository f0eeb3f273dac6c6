"""The optimizers of a run: the one that its spec names, over what trains.

factory   the optimizer that a spec names (AdamW, 8-bit, paged, Adafactor; LoRA+), and its state
update    gradients clipped, checked and applied
galore    GaLore: AdamW in a low-rank subspace of each gradient
"""
