"""State dicts that must fit a model exactly, and a name for what they hold."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook

from ..config.data import Built, build_data
from ..errors import UserError
from ..ops.finite import check_finite_weights


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """BLAKE2b, 128 bits, over names, types, shapes and bytes of tensors on the CPU."""
    digest = hashlib.blake2b(digest_size=16)
    for key, value in sorted(weights.items()):
        digest.update(f'{key} {value.dtype} {tuple(value.shape)}\n'.encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def build_skeleton(build: Callable[[Any], Built], description: Any, tensors: int, source: str) -> Built:
    """What a file describes, on the meta device: a trillion codes cost nothing there, and are seen not to fit the weights.

    See `build_data`; `tensors`, the number of those that came with it, bounds the number of modules.
    """
    limit, count = 1_000 + 20 * tensors, 0

    def count_module(*_: Any) -> None:
        nonlocal count
        count += 1
        if count > limit:
            raise UserError(f'it describes more than {limit:,} modules, but its weights are {tensors:,} tensors.')

    handle = register_module_module_registration_hook(count_module)
    try:
        with torch.device('meta'):
            return build_data(build, description, source)
    finally:
        handle.remove()


def materialize(skeleton: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module | None:
    """A skeleton on the CPU, its parameters not set; None if it has constants that its state dict does not restore.

    If all weights that it will take are of one floating dtype, it has that.
    """
    restored = {id(tensor) for tensor in skeleton.state_dict(keep_vars=True).values()}
    if any(id(buffer) not in restored for buffer in skeleton.buffers()):
        return None
    model = skeleton.to_empty(device='cpu')
    dtypes = {value.dtype for value in weights.values() if value.is_floating_point()}
    if len(dtypes) == 1:
        model.to(dtypes.pop())
    attributes = (value for module in model.modules() for value in vars(module).values())
    return None if any(isinstance(value, Tensor) and value.is_meta for value in attributes) else model


def load_weights(module: nn.Module, weights: Mapping[str, Any], source: str) -> None:
    """Load a state dict that must fit exactly; see `check_fit`."""
    check_fit(module, weights, source)
    module.load_state_dict(dict(weights))


def check_fit(module: nn.Module, weights: Mapping[str, Any], source: str, remedy: str = '') -> None:
    """Raise if a state dict is not exactly the module's in keys and shapes (`UserError`), or not finite (`NonFiniteError`)."""
    own = module.state_dict()
    missing, unexpected = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    shapes = [
        f'{key} is {tuple(weights[key].shape)} there and {tuple(own[key].shape)} here'
        for key in sorted(own.keys() & weights.keys())
        if weights[key].shape != own[key].shape
    ]
    problems = [
        f'{len(keys)} {what} ({", ".join(keys[:2])}{", ..." if len(keys) > 2 else ""})'
        for what, keys in (('missing', missing), ('unexpected', unexpected), ('of another shape', shapes))
        if keys
    ]
    if problems:
        raise UserError(f'{source} holds weights of another model: {"; ".join(problems)}{remedy}.')
    check_finite_weights(weights, source)
