"""Several runs in one worker, over one frozen base, each as if it trained alone.

sharing          which runs can: those with equal sharing keys
train_together   from their specs to their results, in lock-step
halving_rule     when a run is clearly worse: the numbers, and the words
halving          which runs are clearly worse at a rung, and stop
passes           a pass for each run, or one for several: the faster one is used
one_pass         gradients of several runs from one pass over the base
member           one of the runs: starts, steps, ends and fails by itself
shared_base      one tree of modules for each run, the weights there once
random_state     torch's random numbers, apart for each run
run_log          who reads what of the worker's log

Only `sharing` and `halving_rule` are exported here; they load no torch.
"""

from lora_engine.training.together.halving_rule import rule_in_words
from lora_engine.training.together.sharing import SharingKey, sharing_key

__all__ = ["SharingKey", "rule_in_words", "sharing_key"]
