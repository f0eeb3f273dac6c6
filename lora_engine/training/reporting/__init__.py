"""Reports of a run: what it writes while it trains, and how it ended.

reporter         writes the reports after each step and each evaluation
sample_answers   the model's answers to a few fixed prompts
trackers         TensorBoard, Weights & Biases, trackio
loss_curve       falling, flat, rising or overfitting, in words
outcome          the result of a run, and errors as problem and remedy
"""
