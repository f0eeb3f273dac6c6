"""The layers of one model, run one by one beside the model's own forward.

The model's forward calls its layers. Here it is called for what lies around them: once up to the
layers, which records what each of them is given besides the hidden states, and once for what comes
after them. In between the layers run alone, in any order of batches. That is right for a model
whose layers pass nothing but hidden states to each other; `open_base` tries it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

Answer = Callable[..., Any]


class _Recorded(Exception):
    """The last layer was called: what follows is not wanted."""


@dataclass
class Calls:
    """What the layers were called with. hidden: what came into the first."""

    hidden: torch.Tensor | None = None
    others: list[tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)


class LayerStack:
    """Takes the place of the layers' forwards."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self._own: list[Answer] = [layer.forward for layer in layers]
        self._answer: Answer = self._run
        self._gives_tuple = False
        for number, layer in enumerate(layers):
            layer.forward = partial(self._called, number)

    def __len__(self) -> int:
        return len(self._own)

    def compute(self, number: int, hidden: torch.Tensor, calls: Calls) -> torch.Tensor:
        """The hidden states after a layer."""
        others, named = calls.others[number]
        output = self._run(number, hidden, *others, **named)
        return output[0] if isinstance(output, tuple) else output

    def recorded(self, forward: Callable[[], Any]) -> Calls:
        """What `forward`, a pass through the model, gives to the layers."""
        calls = Calls()

        def answer(number: int, hidden: torch.Tensor, *others: Any, **named: Any) -> Any:
            if number == 0:
                calls.hidden = hidden
            calls.others.append((others, named))
            if number == len(self) - 1:
                raise _Recorded
            return self._passed(hidden)

        with self._answering(answer):
            with suppress(_Recorded):
                forward()
        return calls

    @contextmanager
    def ending_with(self, hidden: torch.Tensor) -> Iterator[None]:
        """Within: a pass through the model has these hidden states after its last layer."""

        def answer(number: int, given: torch.Tensor, *_: Any, **__: Any) -> Any:
            return self._passed(hidden if number == len(self) - 1 else given)

        with self._answering(answer):
            yield

    @contextmanager
    def with_only(self, numbers: Collection[int]) -> Iterator[None]:
        """Within: a pass through the model leaves out all other layers."""

        def answer(number: int, hidden: torch.Tensor, *others: Any, **named: Any) -> Any:
            if number in numbers:
                return self._run(number, hidden, *others, **named)
            return self._passed(hidden)

        with self._answering(answer):
            yield

    @contextmanager
    def _answering(self, answer: Answer) -> Iterator[None]:
        before, self._answer = self._answer, answer
        try:
            yield
        finally:
            self._answer = before

    def _called(self, number: int, hidden_states: torch.Tensor, *others: Any, **named: Any) -> Any:
        return self._answer(number, hidden_states, *others, **named)

    def _run(self, number: int, hidden: torch.Tensor, *others: Any, **named: Any) -> Any:
        output = self._own[number](hidden, *others, **named)
        self._gives_tuple = isinstance(output, tuple)
        return output

    def _passed(self, hidden: torch.Tensor) -> Any:
        return (hidden,) if self._gives_tuple else hidden
