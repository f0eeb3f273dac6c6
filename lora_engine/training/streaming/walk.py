"""One batch on its way through the layers, and its gradient on the way back.

On the way up each layer's input is kept and nothing else, as in gradient checkpointing. On the way
down a layer computes again, with the random numbers of the first time, and its gradients go into
the weights that train and into its input. Several batches ride on each reading of a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from lora_engine.training.streaming.layer_stack import LayerStack
from lora_engine.training.streaming.layer_stream import LayerStream

if TYPE_CHECKING:
    import torch

Forward = Callable[[], Any]
"""What is called on the model: a loss, or whatever the caller wants of it."""
InForce = Callable[[], AbstractContextManager[None]]


class Walk:
    """A pass of `forward` through a stack. keeps_inputs: for the way down.

    in_force: puts the random numbers of this walk in place of the process's, where several runs
    walk side by side.
    """

    def __init__(
        self,
        stack: LayerStack,
        forward: Forward,
        keeps_inputs: bool = True,
        in_force: InForce = nullcontext,
    ) -> None:
        self._stack, self._forward, self._keeps = stack, forward, keeps_inputs
        self._in_force = in_force
        with in_force():
            self._calls = stack.recorded(forward)
        assert self._calls.hidden is not None, "the model calls its layers"
        self._hidden = self._calls.hidden.detach()
        self._gradient: torch.Tensor | None = None
        self._kept: list[tuple[torch.Tensor, list[torch.Tensor]]] = []

    def up(self, number: int) -> None:
        """Through the next layer."""
        import torch

        with self._in_force(), torch.no_grad():
            if self._keeps:
                self._kept.append((self._hidden, _now(self._hidden.device.type == "cuda")))
            self._hidden = self._stack.compute(number, self._hidden, self._calls)

    def at_the_top(self) -> Any:
        """What `forward` gives after the layers, without gradient."""
        import torch

        with torch.no_grad(), self._stack.ending_with(self._hidden):
            return self._forward()

    def turn(self) -> float:
        """What `forward` gives, a loss; its gradient then waits above the last layer."""
        leaf = self._hidden.requires_grad_(True)
        with self._in_force():
            # What is drawn before the layers was drawn when they were recorded: not counted twice.
            states = _now(leaf.device.type == "cuda")
            with _random_states_as(states), self._stack.ending_with(leaf):
                loss = self._forward()
        loss.backward()
        self._gradient = leaf.grad
        return float(loss.detach())

    def down(self, number: int) -> None:
        """Back through a layer."""
        import torch

        hidden, states = self._kept.pop()
        hidden = hidden.detach().requires_grad_(True)
        with _random_states_as(states), torch.enable_grad():
            output = self._stack.compute(number, hidden, self._calls)
        torch.autograd.backward(output, self._gradient)
        self._gradient = hidden.grad

    def at_the_bottom(self) -> None:
        """Into what trains before the layers, where something does."""
        import torch

        before = self._calls.hidden
        if before is not None and before.requires_grad:
            torch.autograd.backward(before, self._gradient)


def walk_up(stream: LayerStream, walks: Sequence[Walk]) -> None:
    for number in stream.visit(range(stream.layers)):
        for walk in walks:
            walk.up(number)


def walk_down(stream: LayerStream, walks: Sequence[Walk], lowest: int) -> None:
    """lowest: the first layer in which, or before which, something trains."""
    for number in stream.visit(range(stream.layers - 1, lowest - 1, -1)):
        for walk in walks:
            walk.down(number)
    if lowest == 0:
        for walk in walks:
            walk.at_the_bottom()


@contextmanager
def _random_states_as(states: Sequence[torch.Tensor]) -> Iterator[None]:
    """Within: these random states; those from before afterwards."""
    before = _now(len(states) > 1)
    _set(states)
    try:
        yield
    finally:
        _set(before)


def _now(on_gpu: bool) -> list[torch.Tensor]:
    import torch

    return [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if on_gpu else [])]


def _set(states: Sequence[torch.Tensor]) -> None:
    import torch

    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state(states[1])
