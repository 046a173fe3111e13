"""Whether an optimizer takes steps from gradients."""

from __future__ import annotations

import torch

from ..errors import BAD_VALUE_ERRORS, UserError


def check_step(optimizer: torch.optim.Optimizer) -> None:
    """Take a step with zero gradients; raise if it needs more than gradients, as LBFGS's does, which evaluates the loss."""
    for group in optimizer.param_groups:
        for parameter in group['params']:
            parameter.grad = torch.zeros_like(parameter)
    try:
        optimizer.step()
    except BAD_VALUE_ERRORS as error:
        name, reason = type(optimizer).__name__, ' '.join(str(error).split())
        raise UserError(
            f'optim_wrapper.optimizer: {name} takes no step from dense gradients only ({reason}); use another.'
        ) from error
