"""Which parameters decay: the released split of LlamaGen and FVQ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.optim import OptimWrapper
from torch import nn

from fvq_core.errors import UserError
from fvq_core.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class DecayByDimension:
    """Weight decay on every parameter of two or more dimensions, embeddings included, and on no other.

    Two groups, not one a parameter, so that a fused optimizer steps in two calls.

    Args:
        optim_wrapper_cfg: Config of the optimizer's wrapper with its `optimizer`.
        paramwise_cfg: `dict(no_decay=[...])`: parameters whose name has one of these in it, such as `'position_embedding'`, do
            not decay either.

    Raises:
        UserError: Another key in `paramwise_cfg`.
    """

    def __init__(self, optim_wrapper_cfg: Mapping[str, Any], paramwise_cfg: Mapping[str, Any] | None = None) -> None:
        given = dict(paramwise_cfg or {})
        self.no_decay = tuple(given.pop('no_decay', ()))
        if given:
            raise UserError(f'DecayByDimension: paramwise_cfg takes no_decay, got {given}; drop it.')
        self.wrapper = dict(optim_wrapper_cfg)
        self.optimizer = dict(self.wrapper.pop('optimizer'))

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """The wrapped optimizer of a module's trained parameters."""
        trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        decays = {
            name
            for name, each in trained.items()
            if each.dim() >= 2 and not any(part in name for part in self.no_decay)
        }
        groups = [
            dict(params=[parameter for name, parameter in trained.items() if name in decays]),
            dict(params=[parameter for name, parameter in trained.items() if name not in decays], weight_decay=0.0),
        ]
        optimizer = OPTIMIZERS.build({**self.optimizer, 'params': [group for group in groups if group['params']]})
        return OPTIM_WRAPPERS.build({**self.wrapper, 'optimizer': optimizer})
