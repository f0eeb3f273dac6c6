"""A plain training loop: the batches of a run's plan, through a model that PEFT made."""

from __future__ import annotations

import torch


def plain_losses(model, job, path, steps: int) -> list[float]:
    """The losses of so many steps of torch's AdamW on what trains in `model`.

    path: turns rows into a batch, and a batch into the sum of its losses.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, job.spec.optimization.learning_rate, weight_decay=0)
    found = []
    for step in range(1, steps + 1):
        (numbers,) = job.plan.batches(step)
        batch = path.collate([job.data.training[number] for number in numbers])
        loss = path.summed_loss(batch) / batch.supervised
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, job.spec.optimization.max_grad_norm)
        optimizer.step()
        found.append(loss.item())
    return found
