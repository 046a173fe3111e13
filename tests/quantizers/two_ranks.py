"""The same training steps of every quantizer by one process with the whole batch, or by two with half of it each."""

from __future__ import annotations

from typing import Any

import torch

from fvq_core.ops.collectives import CountCollectives
from fvq_core.ops.ranks import average_over_ranks

from .matrix import build, cases, latents

STEPS, BATCH, LEARNING_RATE = 2, 4, 0.05


def train(config: dict[str, Any], rank: int, ranks: int) -> dict[str, torch.Tensor]:
    """The state after a few steps of plain gradient descent on losses and a linear decoder."""
    torch.manual_seed(0)
    quantizer = build(config, train=True)
    z_SBDHW = torch.stack([latents(BATCH) for _ in range(STEPS)])
    wanted_SBDHW = torch.randn_like(z_SBDHW)
    parameters = [parameter for parameter in quantizer.parameters() if parameter.requires_grad]
    torch.manual_seed(1 + rank)  # ranks draw different numbers
    for z, wanted in zip(z_SBDHW[:, rank::ranks], wanted_SBDHW[:, rank::ranks], strict=True):
        output = quantizer(z.requires_grad_())
        loss = sum(output.losses.values()) + (output.z_q_BDHW * wanted).mean()
        gradients = torch.autograd.grad(loss, parameters, materialize_grads=True) if parameters else ()
        average_over_ranks(gradients)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= LEARNING_RATE * gradient
    return quantizer.state_dict()


def train_on_rank(rank: int, name: str) -> dict[str, torch.Tensor]:
    """The state that one of two processes ends with."""
    return train(cases()[name], rank, 2)


def collectives_on_rank(rank: int) -> dict[str, list[str]]:
    """The kinds of the collectives that a training forward pass of each case issues, in order."""
    issued = {}
    for name, config in cases().items():
        quantizer, z = build(config, train=True), latents(BATCH)
        with CountCollectives() as counted:
            quantizer(z.requires_grad_())
        issued[name] = [call.kind for call in counted.calls]
    return issued
