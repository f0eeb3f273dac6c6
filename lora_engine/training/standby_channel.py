"""What the standby and the server that holds it say over the channel between them.

Imports nothing of training, so that the server can know it.
"""

from __future__ import annotations

import socket

READY, TAKEN = b"R", b"T"
MOST_DESCRIPTORS = 64


def receive(channel: socket.socket) -> tuple[bytes, list[int]]:
    """One line and the descriptors beside it; nothing where the other end was closed."""
    content, descriptors, _, _ = socket.recv_fds(channel, 1 << 16, MOST_DESCRIPTORS)
    while content and not content.endswith(b"\n"):
        more = channel.recv(1 << 16)
        if not more:
            return b"", []
        content += more
    return content, descriptors
