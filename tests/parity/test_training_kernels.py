"""The hand-written gradients against autograd's own, in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy, dropout, linear, silu

from lora_engine.training.kernels.fused_layers import RMSNorm, Rotary, SwiGLU
from lora_engine.training.kernels.fused_linear import LayerTensors, adapted_linears
from lora_engine.training.kernels.head_loss import HeadLoss, head_log_probabilities
from lora_engine.training.kernels.packed_attention import NotPackable, packed_attention


def random_tensor(*shape: int, grad: bool = True) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=grad)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def layers(outs: tuple[int, ...]) -> list[LayerTensors]:
    return [
        LayerTensors(
            random_tensor(out, 6, grad=False),
            random_tensor(out, grad=False),
            random_tensor(2, 6),
            random_tensor(out, 2),
            s,
            torch.float64,
        )
        for out, s in zip(outs, (0.5, 2.0, 3.0), strict=False)
    ]


@pytest.mark.parametrize("outs", [(5,), (5, 4, 3)])
def test_adapted_linears(outs):
    made = layers(outs)
    x = random_tensor(2, 3, 6)
    for layer, y in zip(made, adapted_linears(x, *made), strict=True):
        expected = linear(x, layer.weight, layer.bias) + layer.scaling * (
            x @ layer.lora_a.T @ layer.lora_b.T
        )
        torch.testing.assert_close(y, expected)
    trained = [tensor for layer in made for tensor in (layer.lora_a, layer.lora_b)]

    def results(x, *_):
        return adapted_linears(x, *made)

    assert torch.autograd.gradcheck(results, (x, *trained))


def test_a_model_may_change_what_adapted_linears_gave_it_in_place():
    """As Llama 4 adds the routed experts to the shared one's output."""
    made = layers((5, 4))
    x = random_tensor(2, 3, 6)
    trained = [tensor for layer in made for tensor in (layer.lora_a, layer.lora_b)]
    found = []
    for add in (torch.Tensor.add, torch.Tensor.add_):
        ys = [add(y, x.sum(-1, keepdim=True)) for y in adapted_linears(x, *made)]
        found.append(torch.autograd.grad(sum(y.square().sum() for y in ys), [x, *trained]))
    torch.testing.assert_close(found[1], found[0])


def test_adapted_linears_with_dropout():
    """The draws, and so the numbers, of torch's own dropout on each layer's input in turn."""
    made = [replace(layer, dropout=p) for layer, p in zip(layers((5, 4)), (0.3, 0.5), strict=True)]
    x = random_tensor(50, 6)
    trained = [tensor for layer in made for tensor in (layer.lora_a, layer.lora_b)]

    def plain():
        for layer in made:
            inner = dropout(x, layer.dropout) @ layer.lora_a.T
            yield linear(x, layer.weight, layer.bias) + layer.scaling * inner @ layer.lora_b.T

    found = []
    for results in (lambda: adapted_linears(x, *made), plain):
        torch.manual_seed(1)
        ys = tuple(results())
        gradients = torch.autograd.grad(sum(y.square().sum() for y in ys), [x, *trained])
        found.append([*ys, *gradients])
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected)


def test_norm_swiglu_rotary():
    # the norm computes in float32, as the models' own do
    x, weight = (
        random_tensor(3, 8).float().detach().requires_grad_(),
        random_tensor(8, grad=False).float(),
    )
    twin = x.detach().clone().requires_grad_()
    y = RMSNorm.apply(x, weight, 1e-6)
    expected = torch.nn.functional.rms_norm(twin, (8,), weight, 1e-6)
    upstream = torch.randn(3, 8)
    y.backward(upstream)
    expected.backward(upstream)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(x.grad, twin.grad)

    gate, up = random_tensor(3, 4), random_tensor(3, 4)
    torch.testing.assert_close(SwiGLU.apply(gate, up), silu(gate) * up)
    assert torch.autograd.gradcheck(SwiGLU.apply, (gate, up))

    angles = random_tensor(1, 3, 1, 2, grad=False).repeat(1, 1, 1, 2)
    states = random_tensor(1, 3, 2, 4)
    turned = torch.cat((-states[..., 2:], states[..., :2]), -1)
    expected = states * angles.cos() + turned * angles.sin()
    torch.testing.assert_close(Rotary.apply(states, angles.cos(), angles.sin()), expected)
    assert torch.autograd.gradcheck(Rotary.apply, (states, angles.cos(), angles.sin()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_head_loss_in_chunks(monkeypatch, dtype):
    """Several chunks, the last one not full, give the loss and the gradient of all at once."""
    monkeypatch.setattr("lora_engine.training.kernels.head_loss.CHUNK_BYTES", 1)
    head = torch.nn.Linear(8, 50).requires_grad_(False).to(dtype)
    hidden = torch.randn(300, 8, dtype=dtype, requires_grad=True)
    twin = hidden.detach().float().requires_grad_()
    targets = torch.randint(50, (300,))
    loss = HeadLoss.apply(hidden, head.weight, head.bias, targets)
    expected = cross_entropy(head.float()(twin), targets, reduction="sum")
    (2 * loss).backward()
    (2 * expected).backward()
    tolerance = (
        {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 2e-2, "atol": 2e-2}
    )
    torch.testing.assert_close(loss, expected, rtol=tolerance["rtol"], atol=1e-3)
    torch.testing.assert_close(hidden.grad.float(), twin.grad, **tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_head_log_probabilities_in_chunks(monkeypatch, dtype, temperature):
    """Each token's own, and the gradient of any weighted sum of them, from several chunks."""
    monkeypatch.setattr("lora_engine.training.kernels.head_loss.CHUNK_BYTES", 1)
    head = torch.nn.Linear(8, 50).requires_grad_(False).to(dtype)
    hidden = torch.randn(300, 8, dtype=dtype, requires_grad=True)
    twin = hidden.detach().float().requires_grad_()
    targets, weights = torch.randint(50, (300,)), torch.randn(300)
    found = head_log_probabilities(hidden, head, targets, temperature)
    logits = head.float()(twin) / temperature
    expected = logits.log_softmax(-1).gather(-1, targets[:, None])[:, 0]
    (weights * found).sum().backward()
    (weights * expected).sum().backward()
    close = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 2e-2, "atol": 3e-2}
    torch.testing.assert_close(found, expected, **close)
    torch.testing.assert_close(hidden.grad.float(), twin.grad, **close)


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("softcap", [None, 5.0])
def test_packed_attention_is_each_row_alone(window, softcap):
    lengths = [5, 1, 9]
    starts = torch.tensor([0, 5, 6, 15], dtype=torch.int32)
    query, key, value = torch.randn(1, 4, 15, 8), torch.randn(1, 2, 15, 8), torch.randn(1, 2, 15, 8)
    module = torch.nn.Module()
    told = {"scaling": 0.3, "sliding_window": window, "softcap": softcap}
    output, _ = packed_attention(module, query, key, value, None, cu_seq_lens_q=starts, **told)
    key, value = (states.repeat_interleave(2, 1) for states in (key, value))
    begin = 0
    for length in lengths:
        row = slice(begin, begin + length)
        scores = query[:, :, row] @ key[:, :, row].transpose(2, 3) * 0.3
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        back = torch.arange(length)[:, None] - torch.arange(length)[None, :]
        seen = (back >= 0) & (back < (window or length))
        weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
        expected = (weights @ value[:, :, row]).transpose(1, 2)
        torch.testing.assert_close(output[:, row], expected)
        begin += length


def test_attention_of_another_kind_is_refused():
    states = torch.randn(1, 2, 4, 8)
    starts = torch.tensor([0, 4], dtype=torch.int32)
    for more in ({"s_aux": torch.ones(2)}, {"is_causal": False}):
        with pytest.raises(NotPackable):
            packed_attention(
                torch.nn.Module(), states, states, states, None, cu_seq_lens_q=starts, **more
            )
    with pytest.raises(NotPackable):
        packed_attention(torch.nn.Module(), states, states, states, None)
