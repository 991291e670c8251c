"""How long a network takes for a picture, so that a search fits into its minutes."""

import time

import torch

from smallset.learn.stages import Run
from smallset.models.forward import forward

TRIED = 32  # pictures that a network is timed on, as many as it will see at a time


def milliseconds(run: Run, *, train: bool = False) -> float:
    """Return what one picture takes: a look, or a step of the last stage of training."""
    size = run.plan.config.image_size or 224
    images = torch.rand(TRIED, 3, size, size, device=run.inputs.device)
    images = images.contiguous(memory_format=torch.channels_last)
    if train:
        lane, _ = run.state.begin_stage(len(run.state.stages) - 1, 0)
        lane.train()
    times: list[float] = []
    for _ in range(3):
        began = time.perf_counter()
        with torch.set_grad_enabled(train):
            logits = forward(run.state.model, images, bfloat16=run.inputs.bfloat16).logits
        if train:
            logits.logsumexp(dim=1).sum().backward()
        float(logits.detach().sum())  # waits for a GPU
        times.append(time.perf_counter() - began)
    return 1000 * min(times) / TRIED
