"""Make the starter model and its datasets: `python -m lora_engine.starter.build`.

Corpus -> tokenizer -> training on the CPU -> bf16 safetensors -> the score on held-out questions,
taken from the saved folder. `--datasets-only` writes the datasets and nothing else;
`--evaluate-only` scores the model that is there.
"""

import argparse
import json
import math
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
)

from lora_engine.starter import DATASETS_DIR, MODEL_DIR
from lora_engine.starter.corpus import Messages, Sampler, held_out, is_right, training_rows
from lora_engine.starter.datasets import write_datasets
from lora_engine.starter.facts import normalize
from lora_engine.starter.tokenizer import MAX_LENGTH, encode_rows, train_tokenizer

SEED = 0
STEPS = 5400
ROWS_PER_STEP = 64
PROCESSES = 2
PEAK_LEARNING_RATE = 3e-3
WARMUP_STEPS = 150
HELD_OUT_QUESTIONS = 200
INPUT_FACTOR = 8.0
CHUNK_STEPS = 50
# Every whole-text row also learns the user's words, so that plain text is not foreign to the model.
WHOLE_TEXT_SHARE = 0.08


def new_model(tokenizer) -> LlamaForCausalLM:
    """3.9 million parameters. Every width is a multiple of 64, as 4-bit layers on a CPU need."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def saved_model(folder: Path) -> LlamaForCausalLM:
    """A model that `save` wrote, in float32 and with its inputs as training has them."""
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    widen_inputs(model, 1 / INPUT_FACTOR)
    return model


def batches(tokenizer, sampler: Sampler, steps: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """`steps` batches of fresh rows: input ids and labels (-100: not learned), each (rows, length).

    Rows of like length share a batch: short rows need little padding and no packing.
    """
    for start in range(0, steps, CHUNK_STEPS):
        wanted = min(CHUNK_STEPS, steps - start)
        encoded = encode_rows(tokenizer, [sampler.row() for _ in range(wanted * ROWS_PER_STEP)])
        encoded.sort(key=lambda row: len(row[0]))
        groups = [encoded[i : i + ROWS_PER_STEP] for i in range(0, len(encoded), ROWS_PER_STEP)]
        sampler.rng.shuffle(groups)
        for group in groups:
            length = rounded_up(max(len(ids) for ids, _ in group), 16)
            inputs = torch.full((len(group), length), tokenizer.pad_token_id)
            labels = torch.full((len(group), length), -100)
            for i, (ids, written) in enumerate(group):
                row = torch.tensor(ids)
                whole = sampler.rng.random() < WHOLE_TEXT_SHARE
                inputs[i, : len(ids)] = row
                learned = torch.ones(len(ids), dtype=torch.bool) if whole else torch.tensor(written)
                labels[i, : len(ids)] = torch.where(learned, row, -100)
            yield inputs, labels


def learning_rate_at(step: int, steps: int, peak: float) -> float:
    """Linear warm-up, then a cosine down to a hundredth of the peak."""
    warmup = min(WARMUP_STEPS, steps // 10)
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


@dataclass(frozen=True)
class TrainingPlan:
    """What both training processes are given."""

    folder: Path
    tokenizer: PreTrainedTokenizerBase
    steps: int
    peak: float
    seed: int
    start_from: Path | None = None


def train(plan: TrainingPlan) -> None:
    """Train with one process a core and save the model.

    Two processes of one thread each share every batch: on a machine that others use too, this is
    quicker than two threads that wait for each other in every product.
    """
    parameters = new_model(plan.tokenizer).num_parameters()
    print(f"{parameters:,} parameters, {len(plan.tokenizer)} tokens", flush=True)
    gradients = torch.zeros(PROCESSES, parameters).share_memory_()
    barrier = multiprocessing.get_context("spawn").Barrier(PROCESSES, timeout=300)
    torch.multiprocessing.spawn(train_share, (plan, gradients, barrier), nprocs=PROCESSES)


def train_share(rank: int, plan: TrainingPlan, gradients: torch.Tensor, barrier: Barrier) -> None:
    """One process's part: its rows of each batch, then the same step as the other's.

    The model computes in bfloat16; a float32 copy of its weights takes AdamW's steps.
    `gradients` (processes, parameters) is shared memory.
    """
    torch.set_num_threads(1)
    torch.manual_seed(plan.seed)
    model = saved_model(plan.start_from) if plan.start_from else new_model(plan.tokenizer)
    model.set_attn_implementation("eager")  # the quicker backward pass for rows this short
    weights = list(model.parameters())
    masters = [weight.detach().clone().requires_grad_() for weight in weights]
    model.bfloat16()
    optimizer = torch.optim.AdamW(masters, betas=(0.9, 0.98), weight_decay=0.1, fused=True)
    started, shown = time.time(), 0.0
    for step, batch in enumerate(batches(plan.tokenizer, Sampler(plan.seed + 1), plan.steps)):
        loss = learned_loss(model, *batch, share=slice(rank, None, PROCESSES))
        loss.backward()
        gradients[rank] = torch.cat(
            [w.grad.flatten().float() for w in weights if w.grad is not None]
        )
        barrier.wait()
        total = gradients.sum(0)
        barrier.wait()
        total *= min(1.0, 1.0 / (float(total.norm()) + 1e-6))  # clipped to a norm of 1
        parts = total.split([master.numel() for master in masters])
        for master, part in zip(masters, parts, strict=True):
            master.grad = part.view_as(master)
        optimizer.param_groups[0]["lr"] = learning_rate_at(step, plan.steps, plan.peak)
        optimizer.step()
        with torch.no_grad():
            for master, weight in zip(masters, weights, strict=True):
                weight.copy_(master)
                weight.grad = None
        shown = 0.95 * shown + 0.05 * loss.item() * PROCESSES
        if rank == 0 and (step + 1) % 100 == 0:
            print(f"step {step + 1} loss {shown:.4f} {time.time() - started:.0f} s", flush=True)
    if rank == 0:
        save(model, plan.tokenizer, plan.folder)


def learned_loss(
    model: LlamaForCausalLM, inputs: torch.Tensor, labels: torch.Tensor, share: slice
) -> torch.Tensor:
    """Cross entropy of the learned tokens in this share of the rows, over the count in all rows.

    The output layer sees only the positions whose next token is learned.
    """
    count = int((labels != -100).sum())
    targets = labels[share, 1:].flatten()
    hidden = model.model(input_ids=inputs[share], use_cache=False).last_hidden_state
    learned = (targets != -100).nonzero().squeeze(1)
    padding = rounded_up(len(learned), 128) - len(learned)
    where = torch.nn.functional.pad(learned, (0, padding))
    logits = model.lm_head(hidden[:, :-1].flatten(0, 1)[where])  # (positions, vocabulary)
    wanted = torch.nn.functional.pad(targets[learned], (0, padding), value=-100)
    return torch.nn.functional.cross_entropy(logits.float(), wanted, reduction="sum") / count


def rounded_up(number: int, multiple: int) -> int:
    """Few distinct shapes: a matrix product in bfloat16 compiles a kernel for each new one."""
    return -(-number // multiple) * multiple


@torch.no_grad()
def widen_inputs(model: LlamaForCausalLM, factor: float) -> None:
    """Make every linear layer's input `factor` times larger and its weight as much smaller.

    The model computes the same (a power of two loses no bit). What changes is how far one step of
    an adapter reaches: ΔW·x grows with x, and a model of width 256 has far smaller inputs than the
    wide models for which learning rates such as 2e-4 are usual.
    """
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        layer.input_layernorm.weight *= factor
        layer.post_attention_layernorm.weight *= factor
        for reads_norm in (attention.q_proj, attention.k_proj, mlp.gate_proj):
            reads_norm.weight /= factor
        # v and up read the norm's output and make the input of o and down: the two cancel there.
        attention.o_proj.weight /= factor
        mlp.down_proj.weight /= factor


def save(model: LlamaForCausalLM, tokenizer, folder: Path) -> None:
    """Weights in bfloat16, tokenizer with its chat template, greedy generation as the default."""
    model.set_attn_implementation("sdpa")
    widen_inputs(model, INPUT_FACTOR)
    model.bfloat16()
    model.generation_config.do_sample = False
    model.generation_config.max_new_tokens = 96
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(model.generation_config, name, getattr(tokenizer, name))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def answers(model, tokenizer, prompts: list[str], max_new_tokens: int = 64) -> list[str]:
    """Greedy answers to single-turn prompts, in batches."""
    found = []
    for start in range(0, len(prompts), 50):
        chats = [[{"role": "user", "content": p}] for p in prompts[start : start + 50]]
        batch = tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            output = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
        written = output[:, batch["input_ids"].shape[1] :]
        found += tokenizer.batch_decode(written, skip_special_tokens=True)
    return found


def evaluate(folder: Path, number: int = HELD_OUT_QUESTIONS) -> dict:
    """The share of held-out closed questions answered exactly right by the model in `folder`."""
    model = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    questions = held_out(number)
    given = answers(model, tokenizer, [question for question, _ in questions])
    wrong = [
        {"intent": fact.intent, "question": q, "expected": fact.answer, "given": answer}
        for (q, fact), answer in zip(questions, given, strict=True)
        if not is_right(fact, answer)
    ]
    return {"questions": number, "right": number - len(wrong), "wrong": wrong}


def prompts_of(rows: list[Messages]) -> set[str]:
    return {normalize(m["content"]) for row in rows for m in row if m["role"] == "user"}


def build_model(
    folder: Path, steps: int, peak: float, seed: int, start_from: Path | None = None
) -> None:
    """The whole way from the corpus to a saved model, or more steps for a saved one."""
    sample = training_rows(30_000, seed)
    overlap = prompts_of(sample) & {normalize(question) for question, _ in held_out(2000)}
    if overlap:
        raise RuntimeError(f"held-out prompts in the training rows: {sorted(overlap)[:5]}")
    if start_from:
        tokenizer = AutoTokenizer.from_pretrained(start_from)
    else:
        tokenizer = train_tokenizer(message["content"] for row in sample for message in row)
    train(TrainingPlan(folder, tokenizer, steps, peak, seed, start_from))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=MODEL_DIR)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--learning-rate", type=float, default=PEAK_LEARNING_RATE)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--start-from", type=Path, help="train a saved model further")
    parser.add_argument("--datasets-only", action="store_true")
    parser.add_argument("--evaluate-only", action="store_true")
    chosen = parser.parse_args()
    if not chosen.evaluate_only:
        write_datasets(DATASETS_DIR)
    if not chosen.datasets_only and not chosen.evaluate_only:
        build_model(
            chosen.output, chosen.steps, chosen.learning_rate, chosen.seed, chosen.start_from
        )
    if not chosen.datasets_only:
        score = evaluate(chosen.output)
        print(json.dumps(score["wrong"], indent=1))
        print(Counter(row["intent"] for row in score["wrong"]))
        print(f"held-out questions answered exactly right: {score['right']}/{score['questions']}")


if __name__ == "__main__":
    main()
