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
        paramwise_cfg: Must be empty: the split is all there is.

    Raises:
        UserError: `paramwise_cfg` is not empty.
    """

    def __init__(self, optim_wrapper_cfg: Mapping[str, Any], paramwise_cfg: Mapping[str, Any] | None = None) -> None:
        if paramwise_cfg:
            raise UserError(f'DecayByDimension takes no paramwise_cfg, got {dict(paramwise_cfg)}; drop it.')
        self.wrapper = dict(optim_wrapper_cfg)
        self.optimizer = dict(self.wrapper.pop('optimizer'))

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """The wrapped optimizer of a module's trained parameters."""
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        groups = [
            dict(params=[parameter for parameter in trained if parameter.dim() >= 2]),
            dict(params=[parameter for parameter in trained if parameter.dim() < 2], weight_decay=0.0),
        ]
        optimizer = OPTIMIZERS.build({**self.optimizer, 'params': [group for group in groups if group['params']]})
        return OPTIM_WRAPPERS.build({**self.wrapper, 'optimizer': optimizer})
