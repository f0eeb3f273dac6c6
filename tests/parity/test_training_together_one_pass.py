"""One pass for several runs gives each the losses and gradients that it has alone."""

from __future__ import annotations

import math

import pytest
import torch

from lora_engine.run_folder import RunDirectory
from lora_engine.training.kernels import segmented_linear
from lora_engine.training.loop import TrainingProgress
from lora_engine.training.models.assemble import load_base
from lora_engine.training.preparation import prepare
from lora_engine.training.together import passes
from lora_engine.training.together.one_pass import CannotShare, OnePass, SharedStep
from lora_engine.training.together.random_state import OwnRandomState
from lora_engine.training.together.shared_base import share_weights
from lora_engine.training.train_run import ReadyRun
from tests.tiny import save_tiny_model
from tests.training_runs import losses, tiny_spec, train_here, train_together_here

# name: architecture and changes to its configuration; grouped query in all but gpt2
BASES = {
    "llama": ("llama", {}),
    "qwen3": ("qwen3", {"head_dim": 16}),
    "mistral-window": ("mistral", {"sliding_window": 9}),
    "gemma": ("gemma", {}),
    "gpt2": ("gpt2", {"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0}),
}
METHODS = (
    {"rank": 2, "dropout": 0.3},
    {"rank": 8, "alpha": 3.0},
    {"rank": 16, "use_rslora": True, "dropout": 0.1},
)
SOME_TARGETS = {"target_modules": ["q_proj", "down_proj"], "rank": 4}
NAN = float("nan")


@pytest.fixture
def ready(rows_file, settings, tmp_path):
    """Runs over one base, after a step of their own, so that B is not zero."""
    made = []

    def make(base_folder, specs_changes):
        prepared = []
        for number, changes in enumerate(specs_changes):
            directory = RunDirectory(tmp_path / f"run-{number}")
            directory.create(tiny_spec(base_folder, rows_file, seed=number, **changes))
            prepared.append(prepare(directory, settings, prepared))
        base = load_base(prepared[0])
        runs, states = [], []
        for run in prepared:
            runs.append(ReadyRun(run, False, TrainingProgress(), share_weights(base)))
            made.append(runs[-1])
            runs[-1].steps.make()
            states.append(OwnRandomState())
        return base, runs, states

    yield make
    for run in made:
        run.close()


def taken(run):
    found = [None if p.grad is None else p.grad.clone() for p in run.steps.parameters]
    run.optimizer.zero_grad(set_to_none=True)
    return found


def both_ways(base, runs, states, side_by_side=False):
    """Losses and gradients of the next step of each: in one pass, and alone."""
    steps = [
        SharedStep(run.path, run.steps.begin(), state.generator("cpu"))
        for run, state in zip(runs, states, strict=True)
    ]
    one_pass = OnePass(share_weights(base), [run.path for run in runs], side_by_side)
    made = one_pass.gradients(steps)
    together = [(one.loss, one.tokens, taken(run)) for one, run in zip(made, runs, strict=True)]
    alone = []
    for run, state in zip(runs, states, strict=True):
        with state.in_force():
            one = run.steps.gradients()
        alone.append((one.loss, one.tokens, taken(run)))
    return together, alone


def assert_alike(together, alone):
    for (loss, tokens, gradients), (expected, count, own) in zip(together, alone, strict=True):
        assert loss == pytest.approx(expected, rel=1e-5)
        assert tokens == count
        for given, gradient in zip(gradients, own, strict=True):
            assert (given is None) == (gradient is None)
            if gradient is not None:
                assert float((given - gradient).norm()) <= 1e-4 * float(gradient.norm())


@pytest.mark.parametrize("name", BASES)
def test_losses_and_gradients_are_those_alone(name, ready, tmp_path):
    architecture, changes = BASES[name]
    folder = save_tiny_model(tmp_path / name, architecture, **changes)
    specs = [{"method": method} for method in METHODS]
    if name != "gpt2":
        specs.append({"method": SOME_TARGETS})
    specs[1]["optimization"] = {"gradient_accumulation": 3, "batch_size": 2}
    assert_alike(*both_ways(*ready(folder, specs)))


@pytest.mark.parametrize("quantization", [None, {"bits": 4}])
def test_side_by_side_they_are_those_alone_too(quantization, tiny_llama, ready, monkeypatch):
    """As on a GPU."""
    calls = []
    one_layer = segmented_linear._one_layer
    monkeypatch.setattr(
        segmented_linear, "_one_layer", lambda *a: calls.append(len(a[1])) or one_layer(*a)
    )
    targets = {"target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]}
    specs = [
        {"quantization": quantization, "method": {**method, **targets, "dropout": 0.0}}
        for method in METHODS
    ]
    specs[1]["optimization"] = {"gradient_accumulation": 3, "batch_size": 2}
    assert_alike(*both_ways(*ready(tiny_llama, specs), side_by_side=True))
    assert calls == [3] * 8 + [1] * 16  # four layers of two, then the batches of one run


def test_checkpointed_gradients_are_those_alone(tiny_llama, ready):
    on = {"optimization": {"gradient_checkpointing": True}}
    plain = [{"method": {"rank": rank}, **on} for rank in (2, 8)]
    assert_alike(*both_ways(*ready(tiny_llama, plain)))


def test_a_4_bit_base_is_shared(tiny_llama, ready):
    targets = ["q_proj", "k_proj", "o_proj", "gate_proj"]
    specs = [
        {"quantization": {"bits": 4}, "method": {"rank": rank, "target_modules": targets}}
        for rank in (2, 8)
    ]
    assert_alike(*both_ways(*ready(tiny_llama, specs)))


def test_a_run_whose_weights_are_no_numbers_spoils_no_other(tiny_llama, ready):
    base, runs, states = ready(tiny_llama, [{"method": method} for method in METHODS])
    with torch.no_grad():
        runs[0].steps.parameters[3].fill_(NAN)
    together, alone = both_ways(base, runs, states)
    assert math.isnan(together[0][0])
    assert_alike(together[1:], alone[1:])


@pytest.mark.parametrize(
    ("method", "optimization"),
    [
        ({"use_dora": True}, {}),
        ({"lora_bias": True}, {}),
        ({"target_modules": ["embed_tokens", "q_proj"]}, {}),
        ({"target_modules": ["lm_head", "q_proj"]}, {}),
        ({"dropout": 0.1}, {"gradient_checkpointing": True}),
    ],
)
def test_what_cannot_share_a_pass_says_so(tiny_llama, ready, method, optimization):
    base, runs, _ = ready(tiny_llama, [{"method": method, "optimization": optimization}] * 2)
    with pytest.raises(CannotShare):
        OnePass(share_weights(base), [run.path for run in runs])


def test_a_base_with_dropout_of_its_own_says_so(ready, tmp_path):
    folder = save_tiny_model(tmp_path / "gpt2", "gpt2")
    base, runs, _ = ready(folder, [{}, {}])
    with pytest.raises(CannotShare, match="dropout"):
        OnePass(share_weights(base), [run.path for run in runs])


def test_whole_runs_in_one_pass_are_those_alone(
    tiny_llama, rows_file, settings, tmp_path, monkeypatch, caplog
):
    """Every step but the first; dropout and accumulation; one ends early, one has more batches."""
    monkeypatch.setattr(passes, "PROBE", ("alone", "both"))
    monkeypatch.setattr(passes.Passes, "_compare", lambda self: self._decide("together", "asked"))
    calls = count_calls(monkeypatch)
    specs = {
        f"run {number}": tiny_spec(
            tiny_llama,
            rows_file,
            method=method,
            seed=number,
            optimization={"learning_rate": rate, "max_steps": 6 + number, **more},
        )
        for number, (method, rate, more) in enumerate(
            zip(
                METHODS,
                (0.01, 0.003, 0.001),
                ({}, {"batch_size": 2, "gradient_accumulation": 3}, {"optimizer": "adafactor"}),
                strict=True,
            )
        )
    }
    with caplog.at_level("INFO"):
        made = train_together_here(specs, tmp_path / "together", settings)
    assert "the runs share each pass: asked" in caplog.text
    assert calls == [3] * 5 + [2]  # one of them compared, then until a single run is left
    for name, spec in specs.items():
        alone, _ = train_here(spec, tmp_path / "alone" / name, settings)
        assert losses(made[name]) == pytest.approx(losses(alone), rel=1e-4)
        ours, own = made[name].result(), alone.result()
        assert ours.state == "finished"
        assert own is None  # `train_here` writes none
        together, expected = made[name].last_metrics(), alone.last_metrics()
        assert together.eval_loss == pytest.approx(expected.eval_loss, rel=1e-4)
        assert together.tokens == expected.tokens


def count_calls(monkeypatch) -> list[int]:
    """How many runs were in each pass."""
    calls: list[int] = []
    gradients = OnePass.gradients

    def counted(self, steps):
        calls.append(len(steps))
        return gradients(self, steps)

    monkeypatch.setattr(OnePass, "gradients", counted)
    return calls


@pytest.mark.parametrize("error", [MemoryError("none left"), CannotShare("as it seems")])
def test_a_pass_that_fails_is_made_again_by_each(
    tiny_llama, rows_file, settings, tmp_path, monkeypatch, caplog, error
):
    """On the way the gradients of one run are filled already; no step is lost or made twice."""
    monkeypatch.setattr(passes, "PROBE", ("alone", "together"))
    gradients = OnePass.gradients

    def failing(self, steps):
        gradients(self, steps)
        raise error

    monkeypatch.setattr(OnePass, "gradients", failing)
    specs = {
        name: tiny_spec(tiny_llama, rows_file, method={**method, "dropout": 0.2})
        for name, method in (("a", {"rank": 2}), ("b", {"rank": 4}))
    }
    with caplog.at_level("INFO"):
        made = train_together_here(specs, tmp_path / "together", settings)
    assert caplog.text.count("one pass failed") == 1
    for name, spec in specs.items():
        alone, _ = train_here(spec, tmp_path / "alone" / name, settings)
        assert losses(made[name]) == losses(alone)


def test_gradients_that_come_out_otherwise_are_not_used(
    tiny_llama, rows_file, settings, tmp_path, monkeypatch, caplog
):
    gradients = OnePass.gradients

    def wrong(self, steps):
        made = gradients(self, steps)
        for parameter in steps[1].path.model.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(1.01)
        return made

    monkeypatch.setattr(OnePass, "gradients", wrong)
    specs = {
        name: tiny_spec(tiny_llama, rows_file, method={"rank": rank})
        for name, rank in (("a", 2), ("b", 4))
    }
    with caplog.at_level("INFO"):
        made = train_together_here(specs, tmp_path / "together", settings)
    assert "the gradients of b would be" in caplog.text
    for name, spec in specs.items():
        alone, _ = train_here(spec, tmp_path / "alone" / name, settings)
        assert losses(made[name]) == losses(alone)
