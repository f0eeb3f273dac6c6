"""Checkpoints: saving them, resuming from them, and saving a run's result.

save_and_resume   what a run does with the other three
checkpoints       one checkpoint folder: complete and hashed, or not valid
extending         may a finished run be extended
identity          the spec, data and base model that a checkpoint belongs to
provenance        `provenance.json` beside a result
"""
