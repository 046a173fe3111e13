"""An optimizer wrapper: precision, clipping, and the gradient norm without waiting for the device."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, Literal

import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict, build_optim_wrapper
from torch import Tensor, nn

from ..errors import UserError, nearest_hint, user_errors
from ..registry import OPTIM_WRAPPERS, OPTIMIZERS
from ..registry.argument_types import check

DTYPES = {'float32': None, 'bfloat16': torch.bfloat16, 'float16': torch.float16}


@OPTIM_WRAPPERS.register_module()
class ClippedOptimWrapper(OptimWrapper):
    """Runs forward passes in a precision, clips the joint gradient norm before each step, and keeps the norm.

    Args:
        max_norm: Largest joint norm; 1.0 in LlamaGen and FVQ. None only measures.
        precision: Precision of the forward pass: `'float32'`, or autocast to `'bfloat16'` or `'float16'`. Weights, optimizer
            state, the quantizer's search and its codebook's mapping stay in float32. `'float16'` scales the loss and
            skips steps whose gradients overflow.

    Attributes:
        grad_norm: Gradient norm of the last step before clipping, a tensor on the device.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        max_norm: float | None = 1.0,
        precision: Literal['float32', 'bfloat16', 'float16'] = 'float32',
    ) -> None:
        super().__init__(optimizer)
        if precision not in DTYPES:
            raise UserError(f"ClippedOptimWrapper: unknown precision '{precision}'; {nearest_hint(precision, DTYPES)}")
        if max_norm is not None and not max_norm > 0:
            raise UserError(f'ClippedOptimWrapper: max_norm must be above 0, got {max_norm}; None only measures.')
        self.max_norm, self.dtype = max_norm, DTYPES[precision]
        self.grad_norm: Tensor | None = None
        self.device_type = optimizer.param_groups[0]['params'][0].device.type
        self.scaler = torch.amp.GradScaler(self.device_type, enabled=precision == 'float16')

    def optim_context(self, model: nn.Module) -> Any:
        """Forward passes and losses are computed inside."""
        return nullcontext() if self.dtype is None else torch.autocast(self.device_type, self.dtype)

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        self.scaler.scale(loss).backward(**kwargs)

    def step(self, **kwargs: Any) -> None:
        self.scaler.unscale_(self.optimizer)
        parameters = [p for group in self.optimizer.param_groups for p in group['params'] if p.grad is not None]
        self.grad_norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
        if self.max_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.max_norm, self.grad_norm)
        self.scaler.step(self.optimizer, **kwargs)
        self.scaler.update()

    @property
    def overflow_is_expected(self) -> bool:
        """Whether infinite gradients are expected now and then, and do not end the run."""
        return self.scaler.is_enabled()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), 'scaler': self.scaler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        state_dict = dict(state_dict)
        self.scaler.load_state_dict(state_dict.pop('scaler'))
        super().load_state_dict(state_dict)


def build_optim_wrappers(cfg: Mapping[str, Any], parts: Mapping[str, nn.Module]) -> OptimWrapperDict:
    """One optimizer for each part of a task, all from one config.

    Args:
        cfg: `type`, its arguments and `optimizer`; `parts` may override them for a part by name, as in
            `parts=dict(discriminator=dict(optimizer=dict(lr=4e-4)))`.
        parts: What the task trains, by name.
    """
    common = copy.deepcopy(dict(cfg))
    check(common.get('optimizer'), Mapping, 'optim_wrapper.optimizer')
    for path, described in (('optim_wrapper', common), ('optim_wrapper.optimizer', common['optimizer'])):
        if 'type' not in described:
            raise UserError(f"{path}: 'type' is missing; add it.")
    common['type'] = OPTIM_WRAPPERS.resolve(common['type'])  # names of ours mean nothing to mmengine's builder
    if not issubclass(common['type'], ClippedOptimWrapper):
        raise UserError(
            f'optim_wrapper: {common["type"].__name__} is not a ClippedOptimWrapper, whose max_norm and precision replace '
            "mmengine's clip_grad and AmpOptimWrapper; micro-batches are train_cfg.accumulate."
        )
    common['optimizer']['type'] = OPTIMIZERS.resolve(common['optimizer']['type'])
    special = common.pop('parts', None) or {}
    for name in special:
        if name not in parts:
            raise UserError(f"optim_wrapper.parts: this task has no part '{name}'; {nearest_hint(name, parts)}")
    with user_errors('optim_wrapper'):
        configs = {name: merged(common, special.get(name, {})) for name in parts}
        return OptimWrapperDict(**{name: build_optim_wrapper(part, configs[name]) for name, part in parts.items()})


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a config with nested changes applied."""
    out = copy.deepcopy(dict(base))
    for key, value in changes.items():
        nested = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merged(out[key], value) if nested else copy.deepcopy(value)
    return out
