"""The lines of `gpu_check.py` that compare kernels on a card, ours beside what could replace them.

Each is timed by CUDA's own events after a warm-up, forward and backward, at the sizes of a model of
one billion weights. What is not installed is left out, and the figures say so.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _path  # noqa: F401

LENGTHS = (400, 20, 1024, 350, 700, 90, 1500, 12)
HEADS, KV_HEADS, HEAD_DIM, WIDTH, INNER, VOCABULARY = 32, 8, 64, 2048, 8192, 32_000
REPEATS = 20
ATTENTION = 2e-2  # relative, of bfloat16 attention and its gradients against float32's


def milliseconds(work: Callable[[], Any]) -> float:
    import torch

    for _ in range(3):
        work()
    started, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    started.record()
    for _ in range(REPEATS):
        work()
    ended.record()
    torch.cuda.synchronize()
    return round(started.elapsed_time(ended) / REPEATS, 3)


def with_gradients(work: Callable[..., Any], inputs: list) -> list:
    import torch

    output = work(*inputs)
    made = output if isinstance(output, tuple) else (output,)
    return [*made, *torch.autograd.grad(sum(one.float().sum() for one in made), inputs)]


def tensors(*shapes: tuple[int, ...]) -> list:
    import torch

    torch.manual_seed(0)
    made = {"dtype": torch.bfloat16, "device": "cuda"}
    return [torch.randn(shape, **made).requires_grad_() for shape in shapes]


def attention(_device: str, _tiny: bool) -> dict:
    """All rows in one call beside row by row: the same numbers, and the time of both."""
    import torch

    from lora_engine.training.kernels.packed_attention import packed_attention

    total = sum(LENGTHS)
    states = tensors(*((1, heads, total, HEAD_DIM) for heads in (HEADS, KV_HEADS, KV_HEADS)))
    starts = torch.tensor([0, *LENGTHS], dtype=torch.int32).cumsum(0).int().cuda()
    told = {"cu_seq_lens_q": starts, "row_lengths": LENGTHS}
    found, failures = {}, {}
    for name, window in (("causal", None), ("window of 256", 256)):

        def attend(*given, in_one_call, window=window):
            module = torch.nn.Module()
            more = {**told, "sliding_window": window, "in_one_call": in_one_call}
            return packed_attention(module, *given, None, **more)[0]

        wide = [one.detach().float().requires_grad_() for one in states]
        expected = with_gradients(lambda *g: attend(*g, in_one_call=False), wide)
        at_once = with_gradients(lambda *g: attend(*g, in_one_call=True), states)
        pairs = zip(at_once, expected, strict=True)
        apart = max(float((a.float() - b).norm() / b.norm()) for a, b in pairs)
        found[name] = {"error": apart}
        for label, once in (("varlen_ms", True), ("row_by_row_ms", False)):
            found[name][label] = milliseconds(
                lambda once=once: with_gradients(lambda *g: attend(*g, in_one_call=once), states)
            )
        if not apart <= ATTENTION:
            failures[name] = f"{apart:.1e} apart"
    return found | {"failures": failures}


def layers(_device: str, _tiny: bool) -> dict:
    """Norm and SwiGLU: our functions, and Liger's where it is installed."""
    from lora_engine.training.kernels.fused_layers import RMSNorm, SwiGLU

    tokens = sum(LENGTHS)
    x, weight = tensors((tokens, WIDTH), (WIDTH,))
    gate, up = tensors((tokens, INNER), (tokens, INNER))
    weight = weight.detach()
    ways: dict[str, Callable[[], Any]] = {
        "norm, ours": lambda: with_gradients(lambda x: RMSNorm.apply(x, weight, 1e-6), [x]),
        "swiglu, ours": lambda: with_gradients(SwiGLU.apply, [gate, up]),
    }
    if importlib.util.find_spec("liger_kernel"):
        from liger_kernel.ops.rms_norm import LigerRMSNormFunction
        from liger_kernel.ops.swiglu import LigerSiLUMulFunction

        ways["norm, liger"] = lambda: with_gradients(
            lambda x: LigerRMSNormFunction.apply(x, weight, 1e-6, 0.0, "llama", False), [x]
        )
        # Its backward pass writes over gate and up, so it gets copies, whose time is told too.
        ways["swiglu, liger"] = lambda: with_gradients(
            lambda g, u: LigerSiLUMulFunction.apply(g.clone(), u.clone()), [gate, up]
        )
        ways["two copies"] = lambda: (gate.clone(), up.clone())
    found = {f"{name}, ms": milliseconds(way) for name, way in ways.items()}
    return found if "norm, liger" in ways else found | {"absent": "liger_kernel"}


def head(_device: str, _tiny: bool) -> dict:
    """Head and loss in chunks of several sizes, and Liger's where it is installed."""
    import torch

    from lora_engine.training.kernels import head_loss

    (hidden,) = tensors((sum(LENGTHS), WIDTH))
    linear = torch.nn.Linear(WIDTH, VOCABULARY, bias=False, device="cuda", dtype=torch.bfloat16)
    linear.requires_grad_(False)
    targets = torch.randint(VOCABULARY, (len(hidden),), device="cuda")

    def measured(work: Callable[[], Any]) -> dict:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        took = milliseconds(work)
        return {"ms": took, "mib": (torch.cuda.max_memory_allocated() - before) >> 20}

    def ours() -> list:
        return with_gradients(lambda h: head_loss.summed_head_loss(h, linear, targets), [hidden])

    found = {"chosen": measured(ours)}
    for mib in (8, 32, 128, 512):
        head_loss.CHUNK_BYTES = mib << 20  # of this process alone
        found[f"chunks of {mib} MiB"] = measured(ours)
    if importlib.util.find_spec("liger_kernel"):
        from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy

        found["liger"] = measured(
            lambda: with_gradients(
                lambda h: liger_fused_linear_cross_entropy(
                    h, linear.weight, targets, reduction="sum"
                ),
                [hidden],
            )
        )
    return found


def decoder(_device: str, _tiny: bool) -> dict:
    """Tokens a second of an answer: ours, and transformers' compiled decoder (static cache)."""
    import time

    import compare
    import torch
    from transformers import AutoModelForCausalLM

    from lora_engine.compare.generate.comparison_model import ComparisonModel
    from lora_engine.settings import Settings

    tokens, found = 128, {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = compare.random_llama(folder / "llama")
        adapter = compare.random_adapter(folder / "adapter", base, 1)
        model = ComparisonModel.load(base, {}, Settings(data_dir=folder, device="cuda"))
        model.add_adapter(adapter.name, adapter)
        ways = compare.the_ways(model, base, adapter, tokens, "cuda")
        plain = AutoModelForCausalLM.from_pretrained(base.path, dtype=torch.bfloat16).to("cuda")
        plain.generation_config.eos_token_id = None
        ids = torch.ones((1, 64), dtype=torch.long, device="cuda")
        ways["generate, static cache"] = lambda: plain.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=tokens,
            cache_implementation="static",
            pad_token_id=0,
        )
        for way, work in ways.items():
            for _ in range(2):  # compiled and warm
                work()
            started = time.perf_counter()
            work()
            torch.cuda.synchronize()
            found[way] = round(tokens / (time.perf_counter() - started))
    return {"tokens_per_s": found}


SPEED_LINES: dict[str, Callable[[str, bool], dict]] = {
    line.__name__: line for line in (attention, layers, head, decoder)
}
