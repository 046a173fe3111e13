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


def cpu_copy(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU that share no memory, as safetensors wants them."""
    return {key: value.detach().cpu().contiguous().clone() for key, value in weights.items()}


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """BLAKE2b, 128 bits, over names, types, shapes and bytes of tensors on the CPU."""
    digest = hashlib.blake2b(digest_size=16)
    for key, value in sorted(weights.items()):
        digest.update(f'{key} {value.dtype} {tuple(value.shape)}\n'.encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def build_skeleton(build: Callable[[Any], Built], description: Any, tensors: int, source: str) -> Built:
    """What a file describes, on the meta device: a trillion codes cost nothing there, and are seen not to fit the weights.

    Args:
        build: See `build_data`.
        description: As it stands in the file.
        tensors: The number of tensors that came with it, which bounds the number of modules.
        source: The file of the description, for messages.

    Raises:
        UserError: See `build_data`; or more modules than so many tensors can belong to.
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


def off_meta(skeleton: nn.Module, dtypes: set[torch.dtype]) -> nn.Module | None:
    """A skeleton on the CPU, its parameters not set; None if it has constants that its state dict does not restore.

    Args:
        skeleton: On the meta device.
        dtypes: Floating dtypes of the weights that it will take; a single one becomes its own.
    """
    restored = {id(tensor) for tensor in skeleton.state_dict(keep_vars=True).values()}
    if any(id(buffer) not in restored for buffer in skeleton.buffers()):
        return None
    model = skeleton.to_empty(device='cpu')
    if len(dtypes) == 1:
        model.to(next(iter(dtypes)))
    attributes = (value for module in model.modules() for value in vars(module).values())
    return None if any(isinstance(value, Tensor) and value.is_meta for value in attributes) else model


def load_weights(module: nn.Module, weights: Mapping[str, Any], source: str) -> None:
    """Load a state dict that must fit exactly.

    Raises:
        UserError: See `check_fit`.
    """
    check_fit(module, weights, source)
    module.load_state_dict(dict(weights))


def check_fit(module: nn.Module, weights: Mapping[str, Any], source: str) -> None:
    """Refuse a state dict that is not exactly the module's in keys and shapes, or not finite.

    Raises:
        UserError: Naming the first that differ.
        NonFiniteError: Naming the first tensor that holds NaN or infinite numbers.
    """
    own = module.state_dict()
    missing = sorted(own.keys() - weights.keys())
    unexpected = sorted(weights.keys() - own.keys())
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
        raise UserError(f'{source} holds weights of another model: {"; ".join(problems)}.')
    check_finite_weights(weights, source)
