"""torch's random state, kept apart for each of several runs in one process.

Every run draws the numbers (initial weights, dropout) that it would draw alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class OwnRandomState:
    """The random state of one run. `in_force` puts it in place of the process's for a while."""

    def __init__(self) -> None:
        self._states = _states_now()

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """The run's state for the time of the block; kept as the block leaves it."""
        _set_states(self._states)
        try:
            yield
        finally:
            self._states = _states_now()

    def generator(self, device: str) -> torch.Generator:
        """A generator on `device` that draws what the run would draw next."""
        import torch

        generator = torch.Generator(device)
        generator.set_state(self._states[0 if device == "cpu" else -1])
        return generator

    def follow(self, generator: torch.Generator) -> None:
        """Go on from where the generator has come to."""
        at = 0 if generator.device.type == "cpu" else -1
        self._states[at] = generator.get_state()


def _states_now() -> list[torch.Tensor]:
    """The host's state, then the GPU's where there is one."""
    import torch

    states = [torch.get_rng_state()]
    if torch.cuda.is_available():
        states.append(torch.cuda.get_rng_state())
    elif torch.backends.mps.is_available():
        states.append(torch.mps.get_rng_state())
    return states


def _set_states(states: list[torch.Tensor]) -> None:
    import torch

    torch.set_rng_state(states[0])
    if len(states) == 1:
        return
    if torch.cuda.is_available():
        torch.cuda.set_rng_state(states[1])
    else:
        torch.mps.set_rng_state(states[1])
