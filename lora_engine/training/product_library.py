"""Which library of torch a run's float32 products go to on the CPU: the faster one, measured.

Two adapted layers of the run's sizes go forward and backward on one thread, by that thread's own
clock, which stands still while another program has the core; the libraries take turns. It takes
0.1 to 0.6 seconds of processor time. It is remembered in the data folder for the processor, torch's
version and the sizes, so the next run pays nothing. The choice is written into the run's folder,
and a resumed or extended run computes as its first part did.
"""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from lora_engine.files import read_bounded, write_atomically
from lora_engine.operating_system import has_fast_bfloat16

if TYPE_CHECKING:
    import torch

    from lora_engine.training.kernels.matmul import Library

log = logging.getLogger("lora_engine.training.worker")
FILE = "products.json"  # in the cache of the data folder, and in a run's folder
ROUNDS, LEAST_S = 5, 0.05  # the best counts: another program can only slow a product down
# Larger products are as fast as these, and would take long to measure.
MOST_WIDTH, MOST_VOLUME = 1024, 1 << 28
RANK, PRODUCTS = 8, 4
LIBRARIES: tuple[Literal["torch"], Literal["onednn"]] = ("torch", "onednn")
TOKEN_STEP = 64  # near numbers of tokens share a measurement
# Less is a tie, and goes to torch: two measurements could disagree, and the same run in two data
# folders would differ in its last digits.
MARGIN = 1.08
MOST_KEPT, MAX_BYTES = 50, 100_000


class Sizes(NamedTuple):
    """Of the layers that are measured: (tokens, width) to (tokens, inner), and back."""

    tokens: int
    width: int
    inner: int


Speed = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ProductSpeeds(BaseModel):
    """GFLOP/s of one thread; bfloat16 is None where the processor has no such products."""

    model_config = ConfigDict(frozen=True)

    torch: Speed
    onednn: Speed
    bfloat16: Speed | None = None

    @property
    def faster(self) -> Library:
        return "onednn" if self.onednn > MARGIN * self.torch else "torch"


class _OfRun(BaseModel):
    """What a run's folder says."""

    library: Literal["torch", "onednn"]
    speeds: ProductSpeeds


_REMEMBERED = TypeAdapter(dict[str, ProductSpeeds])


def sizes_of(tokens: float, config: Mapping[str, Any]) -> Sizes:
    """The sizes to measure for a run with that many tokens in a batch, of a model's config.json."""
    width, inner = (
        size if isinstance(size := config.get(name), int) and size > 0 else MOST_WIDTH
        for name in ("hidden_size", "intermediate_size")
    )
    stepped = max(TOKEN_STEP, round(tokens / TOKEN_STEP) * TOKEN_STEP)
    width, inner = min(width, MOST_WIDTH), min(inner, MOST_WIDTH)
    return Sizes(min(stepped, MOST_VOLUME // (width * inner), MOST_WIDTH), width, inner)


def library_of_run(run: Path, goes_on_from: Path | None, sizes: Sizes, cache: Path) -> Library:
    """The library that the run in this folder computes with, measured where nothing says it yet.

    goes_on_from: the folder of the run that it extends. cache: a folder of this data folder.
    """
    from lora_engine.training.kernels import matmul

    if not matmul.has_choice():
        return "torch"
    own = _read_run(run / FILE)
    said = own or (goes_on_from and _read_run(goes_on_from / FILE))
    if said:
        log.info("float32 products by %s, as the run began", said.library)
    else:
        speeds = _remembered_or_measured(cache / FILE, sizes)
        said = _OfRun(library=speeds.faster, speeds=speeds)
        log.info("float32 products by %s: %s", said.library, _words(speeds))
    if own is None:
        try:
            write_atomically(run / FILE, said.model_dump_json().encode())
        except IsADirectoryError as error:
            log.warning("a resumed run will measure again: %s", error)
    return said.library


def measure(sizes: Sizes) -> ProductSpeeds:
    """The speeds on this processor. Call it before the process's first product: oneDNN's cache of
    kernels is limited for whatever comes after."""
    import torch

    from lora_engine.training.kernels import matmul

    matmul.limit_kernel_cache()
    ways: dict[str, Callable[[], None]] = dict.fromkeys(
        LIBRARIES, _layer_pass(sizes, torch.float32)
    )
    if has_fast_bfloat16():
        ways["bfloat16"] = _layer_pass(sizes, torch.bfloat16)
    best = dict.fromkeys(ways, float("inf"))
    with _one_thread():
        turn, spent = 0, 0.0
        while turn <= ROUNDS or spent < LEAST_S * len(ways):
            for name, way in ways.items():
                matmul.use("onednn" if name == "onednn" else "torch")
                started = time.thread_time()
                way()
                took = time.thread_time() - started
                if turn:  # the first one generates code
                    best[name], spent = min(best[name], took), spent + took
            turn += 1
        matmul.use("torch")
    operations = 2 * PRODUCTS * sizes.tokens * sizes.width * sizes.inner
    speeds = {name: round(operations / max(s, 1e-9) / 1e9, 1) for name, s in best.items()}
    return ProductSpeeds.model_validate(speeds)


def _layer_pass(sizes: Sizes, dtype: torch.dtype) -> Callable[[], None]:
    """Two adapted layers forward and backward, as a step computes them; PRODUCTS large products,
    and the thin ones of the adapters."""
    import torch

    from lora_engine.training.kernels.fused_linear import LayerTensors, adapted_linears

    source = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=source)

    def layer(inputs: int, outputs: int) -> LayerTensors:
        a, b = drawn(RANK, inputs).requires_grad_(), drawn(outputs, RANK).requires_grad_()
        return LayerTensors(drawn(outputs, inputs).to(dtype), None, a, b, 1.0, dtype)

    up, down = layer(sizes.width, sizes.inner), layer(sizes.inner, sizes.width)
    x = drawn(sizes.tokens, sizes.width).to(dtype).requires_grad_()

    def forward_and_backward() -> None:
        (inner,) = adapted_linears(x, up)
        (output,) = adapted_linears(inner, down)
        output.backward(torch.ones_like(output))

    return forward_and_backward


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread's clock tells the work of one thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _remembered_or_measured(file: Path, sizes: Sizes) -> ProductSpeeds:
    key, known = _key(sizes), _read_remembered(file)
    if key in known:
        return known[key]
    speeds = measure(sizes)
    kept = dict([*known.items(), (key, speeds)][-MOST_KEPT:])
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, _REMEMBERED.dump_json(kept, indent=1))
    except OSError as error:
        log.warning("the speed of products is not kept for the next run: %s", error)
    return speeds


def _key(sizes: Sizes) -> str:
    import torch

    processor = torch.cpu.get_capabilities().get("cpu_name") or platform.machine()
    shape = "x".join(map(str, sizes))
    return f"{processor}, torch {torch.__version__}, {shape}"


def _read_remembered(file: Path) -> dict[str, ProductSpeeds]:
    try:
        return _REMEMBERED.validate_json(read_bounded(file, MAX_BYTES))
    except (OSError, ValueError):  # not there, or no use: measured anew
        return {}


def _read_run(file: Path) -> _OfRun | None:
    try:
        return _OfRun.model_validate_json(read_bounded(file, MAX_BYTES))
    except (OSError, ValueError):
        return None


def _words(speeds: ProductSpeeds) -> str:
    words = f"torch's own gave {speeds.torch:.0f} GFLOP/s on one thread, oneDNN {speeds.onednn:.0f}"
    if speeds.bfloat16 is None:
        return words
    return f"{words}; bfloat16 products would give {speeds.bfloat16:.0f}"
