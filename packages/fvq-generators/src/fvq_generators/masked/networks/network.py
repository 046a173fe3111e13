"""The contract of the networks of masked models."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fvq_core.registry import Registry

NETWORKS = Registry('network of a masked generator')


class MaskedNetwork(nn.Module):
    """Vectors of codes, masked ones among them, and of a class to features of each code.

    Its constructor is also given `length`, the codes of an image, and if it takes them their `positions`.

    Attributes:
        dim: Channels D.
        blocks: Its parts that are alike, in the order they run.
        checkpointing: Keep only the inputs of the blocks and compute the rest again in the backward pass.
        init_std: Of the embeddings' start values.
    """

    dim: int
    blocks: nn.ModuleList
    checkpointing: bool = False
    init_std: ClassVar[float] = 0.02

    def forward(self, x_BLD: Tensor, class_B1D: Tensor, prepared: Any = None) -> Tensor:
        """(B, L, D) to (B, L, D), without positions to with.

        Args:
            x_BLD: Vectors of the codes.
            class_B1D: Vectors of the classes.
            prepared: What `prepare` gave for these classes, if they were seen before.
        """
        raise NotImplementedError

    def prepare(self, class_B1D: Tensor) -> Any:
        """What depends on the classes only, to be computed once for all steps of sampling; None if nothing does."""
        return None

    def run(self, block: nn.Module, *arguments: Any) -> Tensor:
        """A block, with checkpointing if that is on."""
        if self.checkpointing and torch.is_grad_enabled():
            return cast(Tensor, checkpoint(block, *arguments, use_reentrant=False))
        return block(*arguments)


def init_truncated(module: nn.Module, std: float) -> None:
    """Matrices and tables truncated normal within two standard deviations, biases 0."""
    for each in module.modules():
        if isinstance(each, nn.Linear | nn.Embedding):
            nn.init.trunc_normal_(each.weight, std=std, a=-2 * std, b=2 * std)
        if isinstance(each, nn.Linear) and each.bias is not None:
            nn.init.zeros_(each.bias)
