"""Folding a projector in the middle of training: the mapped codebook becomes what is trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..errors import UserError
from ..projector import find_projectors


def fold_for_training(tokenizer: Any) -> None:
    """Replace a tokenizer's quantizer by its fold, in place, with the mapped codebooks as trained parameters.

    Codes and pixels are the same right before and right after.

    Raises:
        UserError: There is no projector to fold, or the quantizer refuses (a class-conditional bridge without a label).
    """
    quantizer = tokenizer.quantizer
    if all(projector.is_identity for projector in find_projectors(quantizer)):
        name = type(quantizer).__name__
        raise UserError(f'FoldHook: {name} has no projector to fold; drop the hook or give it a projector.')
    tokenizer.quantizer = quantizer.fold().train(quantizer.training)


def exchange_parameters(optimizer: torch.optim.Optimizer, old: nn.Module, new: nn.Module) -> None:
    """Make an optimizer train the parameters of `new` instead of those of `old`.

    A parameter that both have under one name takes the place of the old one in its group, and keeps its state if its
    values are the same. Those that only `old` has leave. The number of groups stays, because schedules count them; one
    may be left empty.
    """
    fresh = dict(new.named_parameters())
    successors = {parameter: fresh.get(name) for name, parameter in old.named_parameters()}
    successors |= {parameter: parameter for parameter in fresh.values()}
    for group in optimizer.param_groups:
        params = []
        for parameter in group['params']:
            successor = successors.get(parameter, parameter)
            if successor is not None:
                params.append(successor)
            if successor is not parameter:
                state = optimizer.state.pop(parameter, None)
                if successor is not None and state is not None and torch.equal(parameter, successor):
                    optimizer.state[successor] = state
        group['params'] = params
