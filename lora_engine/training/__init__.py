"""Training: from the spec of a run to a trained adapter or model, in a process of its own.

The worker process, from the top down:

    worker                  the process: holds the lock, trains, writes `result.json`
    together/               several runs in one worker, over one frozen base
    train_run               one run from its spec to its result folder
    preflight               checks before a run exists
    checkpointing/          saving checkpoints and results, resuming, provenance
    reporting/              metrics, sample answers, trackers, how a run ended
    loop                    optimizer steps: gradient accumulation, gradient clipping, evaluation,
                            early stopping
    models/                 what trains: an adapter, a whole model, a classifier; initial weights
    preparation             device, tokenized rows, plan and memory prediction, before the model
    starting_adapter        the adapter that a run goes on from: found, checked, its shape
    evaluation              losses on rows that are not trained on
    optimizers/             the optimizer that a spec names, LoRA+, GaLore
    forward/                how rows become a loss: padded, packed, mixed precision
    memory/                 predicted and measured memory; what to do when it runs out
    kernels/                fused functions with hand-written gradients
    ranks/                  the processes that share a run, each on a device of its own
    plan                    how many steps, and which rows in each
    learning_rate_schedule  warm-up, then cosine, linear or constant
    precision               the arithmetic of a run on its device
    compatibility           what this machine cannot run
    conflicts               choices of a spec that exclude each other

Imports run down this list. What is exported here loads no torch: a page can use it.
"""

from lora_engine.training.compatibility import (
    Machine,
    compatibility_problems,
    this_machine,
    unavailable_choices,
)
from lora_engine.training.precision import KeptPrecision, read_precision
from lora_engine.training.preflight import check_run
from lora_engine.training.reporting.loss_curve import describe_loss_curve
from lora_engine.training.starting_adapter import method_of_adapter
from lora_engine.training.together import SharingKey, rule_in_words, sharing_key

__all__ = [
    "KeptPrecision",
    "Machine",
    "SharingKey",
    "check_run",
    "compatibility_problems",
    "describe_loss_curve",
    "method_of_adapter",
    "read_precision",
    "rule_in_words",
    "sharing_key",
    "this_machine",
    "unavailable_choices",
]
