"""Frozen networks: cast once to the type of the surrounding autocast, and kept out of the module tree of who uses them."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn


class FrozenNetwork(nn.Module):
    """What a trained network, `net`, makes of images; a subclass sets it, as `provenance`.

    Attributes:
        net: The network.
        provenance: Its weights in words, for numbers measured with them.
    """

    net: nn.Module
    provenance: str

    def __init__(self) -> None:
        super().__init__()
        self._cast: tuple[torch.dtype, nn.Module] | None = None  # in a tuple, hence in no state dict

    @property
    def on_meta(self) -> bool:
        return next(self.net.parameters()).is_meta

    def network(self) -> Any:
        """`net` in the type of the surrounding autocast, cast once; autocast would cast frozen weights at each use."""
        kind = next(self.net.parameters()).device.type
        if torch.compiler.is_compiling() or kind == 'meta' or not torch.is_autocast_enabled(kind):
            return self.net
        dtype = torch.get_autocast_dtype(kind)
        if self._cast is None or self._cast[0] != dtype:
            with torch.inference_mode(False):  # tensors made in inference mode cannot take part in training later
                self._cast = (dtype, copy.deepcopy(self.net).to(dtype))
        return self._cast[1]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._cast = None
        return super()._apply(fn, recurse)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._cast = None
        super()._load_from_state_dict(*args, **kwargs)


class WithFrozenNetwork(nn.Module):
    """A module that uses a frozen network.

    The network is kept out of the module tree: it is in no state dict, moving average, DDP module or optimizer, but follows
    the module to another device, type or memory order.

    Args:
        network: The network.
        random: Whether its weights are random, which is logged as a warning.
    """

    network: FrozenNetwork

    def __init__(self, network: FrozenNetwork, random: bool) -> None:
        super().__init__()
        object.__setattr__(self, 'network', network.train(self.training))  # out of the module tree
        if random and not network.on_meta:
            logging.getLogger('fvq').warning(f'{type(self).__name__}: {network.provenance}')

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self.network._apply(fn, recurse)  # what `to`, `cuda`, `half` and the like go through
        return super()._apply(fn, recurse)

    def train(self, mode: bool = True) -> Self:
        self.network.train(mode)
        return super().train(mode)
