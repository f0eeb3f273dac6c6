"""Several runs in one worker, over one frozen base, each as if it trained alone.

sharing         which runs can: those with equal sharing keys

Only `sharing` is exported here; it loads no torch.
"""

from lora_engine.training.together.sharing import SharingKey, sharing_key

__all__ = ["SharingKey", "sharing_key"]
