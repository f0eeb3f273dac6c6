"""Training over a frozen base whose layers are read from the disk in every step.

layer_source    the weights of each layer as bytes: read, put into the layer's parameters, taken out
four_bit        the same as 4-bit codes, quantized once into a file without a name
layer_stream    the layers in an order, each read while the one before computes
layer_stack     the layers of one model: run one by one, beside the model's own forward
walk            one batch on its way through the layers, and its gradient on the way back
streamed_path   a forward path over a streamed base, and the objective that trains on it
rides           the gradients of a step, of one run or of several over one base
open_base       all of these for one run, tried on the run's own model

Each layer is read once on the way up and once on the way down, for all batches of a step at once.
"""
