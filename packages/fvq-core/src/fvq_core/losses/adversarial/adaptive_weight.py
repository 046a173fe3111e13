"""VQGAN's adaptive weight: the adversarial gradient gets the norm of the reconstruction's (Esser et al., 2021, eq. 7)."""

from __future__ import annotations

import torch
from mmengine.dist import get_world_size
from torch import Tensor, nn

from ...ops.ranks import average_over_ranks

DELTA, LARGEST = 1e-4, 1e4
# Keeps float16 gradients from underflowing; a power of two changes no other dtype's result.
SCALE = 2.0**10


def adaptive_weight(reconstruction_terms: Tensor, generator_loss: Tensor, last_layer: Tensor) -> Tensor:
    """|d reconstruction / d L| / (|d generator / d L| + 1e-4), at most 1e4, without gradient, at the last layer L.

    The gradients, or for reconstructions their squared norms, are averaged over ranks first, so that two ranks get the weight
    of one process with twice the batch. Both graphs are kept for the backward pass of the losses.

    Args:
        reconstruction_terms: Scalar: the weighted sum of pixel and perceptual losses.
        generator_loss: Scalar, unweighted.
        last_layer: The weight of the decoder's last layer; this rank's reconstructions (B, C, H, W) if the decoder is frozen.
    """
    gradients = [
        torch.autograd.grad(SCALE * loss, last_layer, retain_graph=True)[0].float() / SCALE
        for loss in (reconstruction_terms, generator_loss)
    ]
    if isinstance(last_layer, nn.Parameter):
        average_over_ranks(gradients)
        reconstruction, generator = (gradient.norm() for gradient in gradients)
    else:  # each rank has images of its own, and a share of the joint mean over images
        squares = [gradient.square().sum() for gradient in gradients]
        average_over_ranks(squares)
        reconstruction, generator = (square.div(get_world_size()).sqrt() for square in squares)
    return (reconstruction / (generator + DELTA)).clamp(0, LARGEST)
