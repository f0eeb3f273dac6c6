"""A process that has the libraries imported and waits to become the worker of one run.

    python -m lora_engine.training.standby --channel FD [--base NAME --precision auto]

Over the channel, a socket whose other end the server holds, it says that it is ready, gets one
order (the worker's arguments, with the log and the runs' locks as descriptors) and is a worker from
then on, as if it had been started for these runs. Where the other end closes, it ends: the server
let it go, or is gone. It serves runs that need neither the hub nor bitsandbytes. With a base it
loads that too before it is ready; a run of another one trains as without.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys

from lora_engine.base_models import resolve_base_model
from lora_engine.devices import CPU, pick_device
from lora_engine.environment import load_settings
from lora_engine.errors import EngineError
from lora_engine.library_imports import import_peft, uncollected
from lora_engine.scrubbing import scrub_output
from lora_engine.spec import spec_from
from lora_engine.training import worker
from lora_engine.training.first_imports import import_for_training
from lora_engine.training.kept_base import KeptBase, load_kept_base
from lora_engine.training.precision import precision_of
from lora_engine.training.preparation import dtype_named
from lora_engine.training.skipped_imports import skip_unused_imports
from lora_engine.training.standby_channel import READY, TAKEN, receive


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lora_engine.training.standby")
    parser.add_argument("--channel", type=int, required=True)
    parser.add_argument("--base", help="of the run that is expected")
    parser.add_argument("--precision", default="auto", help="as the spec of that run has it")
    options = parser.parse_args()
    channel = socket.socket(fileno=options.channel)
    channel.set_inheritable(False)
    import_everything()
    kept = KeptBase() if options.base is None else load_ahead(options.base, options.precision)
    try:
        channel.sendall(READY)
        order, descriptors = receive(channel)
        if not order:
            return 0
        log, *locks = descriptors
        os.dup2(log, sys.stdout.fileno())
        os.dup2(log, sys.stderr.fileno())
        os.close(log)
        channel.sendall(TAKEN)
    except (BrokenPipeError, ConnectionResetError):  # let go in this very moment
        return 0
    channel.close()
    arguments = json.loads(order)
    for lock in locks:
        arguments += ["--lock-fd", str(lock)]
    scrub_output()
    return worker.main(arguments, kept)


def import_everything() -> None:
    """What a run of a Llama on the processor imports; of another family, all but its own module."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # as `prepare` does, before the hub's client is imported
    import_for_training()
    skip_unused_imports([])
    with uncollected():
        import_peft()
        import psutil  # noqa: F401
        import transformers.models.llama.modeling_llama  # noqa: F401

        from lora_engine.training.kernels import (  # noqa: F401
            fused_layers,
            head_loss,
            packed_attention,
        )


def load_ahead(name: str, precision: str) -> KeptBase:
    """The base for a run that may come; none where it cannot be loaded, which its run will say."""
    settings = load_settings()
    try:
        if pick_device(settings) != CPU:
            return KeptBase()
        spec = spec_from({"optimization": {"precision": precision}})
        base = resolve_base_model(name, settings)
        return load_kept_base(base, dtype_named(precision_of(spec, CPU, base)))
    except EngineError:
        return KeptBase()


if __name__ == "__main__":
    sys.exit(main())
