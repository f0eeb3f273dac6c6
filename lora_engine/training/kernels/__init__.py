"""Kernels: functions of the training step that do less work than autograd over the plain modules.

    matmul             matrix products by the faster library
    fused_linear       LoRA linear layers that share an input
    fused_layers       RMSNorm, SwiGLU MLP and rotary attention
    last_layer         the last decoder layer, for the predicting tokens alone
    head_loss          output head and cross-entropy in chunks
    packed_attention   causal attention over packed rows
    varlen             the same in one call on CUDA
    loss_scale         gradients scaled for float16, and when the scale changes

Each computes what the modules of transformers and PEFT compute; parity tests hold them to it.
"""
