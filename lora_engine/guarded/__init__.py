"""What runs in a guarded process, on files that strangers wrote.

    template_rendering  conversations through a chat template
    tokenizer_trial     a tokenizer's files, read and tried
    torch_pickle        a pickled torch file, listed, or one tensor of it
    model_trial         a model built without weights from its config.json

Each is a function that `lora_engine.guard` calls under limits of time, memory and output. The
modules import little, so that the process starts at once.
"""
