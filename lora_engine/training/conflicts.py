"""Which choices of a spec exclude each other, on every machine, each with its reason.

It knows the spec alone: not the machine (see `compatibility`), the model or the data.
"""

from __future__ import annotations

from collections.abc import Iterator

from lora_engine.errors import FieldProblem
from lora_engine.language import tr
from lora_engine.spec import MethodSpec, RunSpec

STREAM_BASE = "optimization.stream_base"
LORA_ONLY_FIELDS = (
    "use_dora",
    "use_rslora",
    "init",
    "init_from",
    "loraplus_lr_ratio",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
    "lora_bias",
    "bias",
)


def choice_conflicts(spec: RunSpec) -> Iterator[FieldProblem]:
    """Every choice that excludes another one."""
    method, optimization = spec.method, spec.optimization
    yield from _objective_conflicts(spec)
    if spec.task != "causal_lm":
        yield from _classifier_conflicts(spec)
    elif spec.objective.class_weights != "equal":
        yield FieldProblem("objective.class_weights", tr("is about classes; causal_lm has none"))
    if method.is_lora:
        yield from _init_conflicts(spec)
        if method.init_from is not None and method.init != "default":
            yield FieldProblem(
                "method.init",
                tr(
                    "{init} starts a new adapter, and the run goes on from {init_from}; "
                    "choose default, or leave out init_from",
                    init=method.init,
                    init_from=method.init_from,
                ),
            )
        if method.lora_bias and method.use_dora:
            yield FieldProblem("method.lora_bias", tr("DoRA has none; leave out one of the two"))
    elif method.has_adapter:
        yield from _other_method_conflicts(spec)
    else:
        yield from _full_finetuning_conflicts(spec)
    if optimization.stream_base:
        yield from streaming_conflicts(spec)
    if optimization.precision == "float16":
        yield from float16_conflicts(spec)
    if method.finetuning_type == "galore" and optimization.optimizer != "adamw":
        yield FieldProblem(
            "optimization.optimizer", tr("galore projects the gradients of adamw; choose adamw")
        )
    for name in ("save_best", "early_stopping"):
        if getattr(optimization, name) and not spec.dataset.is_evaluated:
            yield FieldProblem(
                f"optimization.{name}",
                tr(
                    "needs rows to evaluate on; raise dataset.eval_fraction above 0 or name "
                    "a dataset.eval_source"
                ),
            )


def float16_conflicts(spec: RunSpec) -> Iterator[FieldProblem]:
    """What cannot be trained in float16."""
    path = "optimization.precision"
    if spec.task != "causal_lm" or spec.objective.kind == "grpo":
        yield FieldProblem(
            path, tr("float16 scales the gradients of texts that are given; choose bfloat16")
        )
    if spec.optimization.stream_base:
        yield FieldProblem(
            path, tr("a streamed base computes in float32 or bfloat16; choose one of them")
        )


def _objective_conflicts(spec: RunSpec) -> Iterator[FieldProblem]:
    kind = spec.objective.kind
    if kind == "grpo":
        yield from _grpo_conflicts(spec)
    elif kind != "sft" and spec.task != "causal_lm":
        yield FieldProblem(
            "objective.kind",
            tr("{kind} compares texts, and {task} writes none", kind=kind, task=spec.task),
        )
    if kind == "kto" and spec.optimization.batch_size < 2:
        yield FieldProblem(
            "optimization.batch_size",
            tr(
                "kto estimates the KL from the answers to other questions of a batch; choose "
                "2 or more"
            ),
        )


def _grpo_conflicts(spec: RunSpec) -> Iterator[FieldProblem]:
    objective, method = spec.objective, spec.method
    if spec.task != "causal_lm":
        yield FieldProblem(
            "objective.kind", tr("grpo lets the model answer; {task} does not", task=spec.task)
        )
    if not objective.rules:
        yield FieldProblem(
            "objective.rules",
            tr("grpo learns from rules alone; give one at the least, such as equal"),
        )
    if not objective.has_reference:
        return
    if not method.is_lora:
        yield FieldProblem(
            "objective.beta",
            tr(
                "the KL is to the base with the adapter off, which only lora offers here; "
                "set it to 0"
            ),
        )
    if method.bias != "none" or method.init in ("pissa", "olora"):
        yield FieldProblem(
            "objective.beta",
            tr(
                "the KL is to the base as it was loaded, and this run changes the base's "
                "weights; set it to 0, or choose bias none and init default"
            ),
        )


def _classifier_conflicts(spec: RunSpec) -> Iterator[FieldProblem]:
    if spec.method.finetuning_type not in ("lora", "full"):
        yield FieldProblem(
            "method.finetuning_type",
            tr("with the task {task}, choose lora or full", task=spec.task),
        )
    if spec.method.init not in ("default", "gaussian", "orthogonal"):
        yield FieldProblem(
            "method.init",
            tr("with the task {task}, choose default, gaussian or orthogonal", task=spec.task),
        )


def _init_conflicts(spec: RunSpec) -> Iterator[FieldProblem]:
    init, bits = spec.method.init, spec.quantization.bits if spec.quantization else None
    if init in ("pissa", "olora") and bits:
        yield FieldProblem(
            "method.init",
            tr(
                "{init} subtracts a part of the base weight, and the rest in {bits} bits is "
                "not the base that the adapter would be loaded on; choose loftq, or no "
                "quantization",
                init=init,
                bits=bits,
            ),
        )
    if init == "loftq" and bits != 4:
        yield FieldProblem(
            "method.init",
            tr("loftq corrects the error of 4-bit quantization, so it needs 4-bit quantization"),
        )
    ranks = [spec.method.rank, *spec.method.rank_pattern.values()]
    if init == "orthogonal" and any(rank % 2 for rank in ranks):
        yield FieldProblem("method.rank", tr("the orthogonal init needs an even rank"))


def streaming_conflicts(spec: RunSpec) -> Iterator[FieldProblem]:
    """What cannot be trained while the base's layers are read from the disk."""
    method, bits = spec.method, spec.quantization.bits if spec.quantization else None
    reasons = (
        (not method.is_lora, tr("trains lora alone, whose base stays frozen")),
        (method.use_dora, tr("DoRA reads every weight of the base before the first step")),
        (
            method.init in ("pissa", "olora", "loftq", "eva"),
            tr("the init {init} reads the base's weights before the first step", init=method.init),
        ),
        (
            bool(method.modules_to_save) or method.bias != "none",
            tr("weights of the base cannot train while its layers come and go"),
        ),
        (spec.task != "causal_lm", tr("is for the task causal_lm")),
        (spec.objective.kind != "sft", tr("is for the objective sft")),
        (bits == 8, tr("the base can be streamed in 4 bits or as it is, and not in 8")),
    )
    for excludes, reason in reasons:
        if excludes:
            yield FieldProblem(STREAM_BASE, reason)


def _other_method_conflicts(spec: RunSpec) -> Iterator[FieldProblem]:
    """What prefix, prompt, p_tuning, ia3, bottleneck, vera and loha cannot be trained with."""
    kind, default = spec.method.finetuning_type, MethodSpec()
    for name in LORA_ONLY_FIELDS:
        if getattr(spec.method, name) != getattr(default, name):
            yield FieldProblem(f"method.{name}", tr("is about LoRA; {kind} has none", kind=kind))
    if spec.objective.kind == "grpo":
        yield FieldProblem(
            "method.finetuning_type", tr("{kind} samples no answers; choose lora", kind=kind)
        )
    if kind == "loha" and spec.quantization is not None:
        yield FieldProblem(
            "quantization",
            tr("PEFT's LoHa adapts weights in 16 or 32 bits; choose another method, or none"),
        )
    if kind == "prefix" and spec.optimization.gradient_checkpointing:
        yield FieldProblem(
            "optimization.gradient_checkpointing",
            tr(
                "the keys and values of prefix go around the layers that it computes again; "
                "leave it out, or choose prompt or p_tuning"
            ),
        )


def _full_finetuning_conflicts(spec: RunSpec) -> Iterator[FieldProblem]:
    kind, default = spec.method.finetuning_type, MethodSpec()
    if spec.quantization is not None:
        yield FieldProblem(
            "quantization",
            tr(
                "{kind} trains the base's own weights, which {bits}-bit weights cannot do; "
                "choose lora, or no quantization",
                kind=kind,
                bits=spec.quantization.bits,
            ),
        )
    for name in LORA_ONLY_FIELDS:
        if getattr(spec.method, name) != getattr(default, name):
            yield FieldProblem(
                f"method.{name}", tr("is about adapters; {kind} has none", kind=kind)
            )
