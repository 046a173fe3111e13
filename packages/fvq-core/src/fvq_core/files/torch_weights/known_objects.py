"""Objects of a pickle: those that become plain values and tensors, by name and arguments, and placeholders for others."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Elements beyond those that are stored; expanded masks and position tables have some.
MAX_EXPANDED = 2**24
MAX_DIMENSIONS = 32
SCALARS = (str, bytes, int, float, bool, type(None))


@dataclass(eq=False)
class Inert:
    """A class, a function, or an object of one: its dotted name, and its arguments and state in the pickle."""

    name: str
    arguments: tuple[Any, ...] = ()
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)
    values: list[Any] = field(default_factory=list)


def hashable(key: Any) -> Any:
    """The key itself if hashing it is cheap and safe, otherwise a placeholder."""
    if isinstance(key, (*SCALARS, Inert)):
        return key
    if isinstance(key, tuple) and all(isinstance(part, SCALARS) for part in key):
        return key
    return Inert(type(key).__name__)


def tensor_of(flat: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    """`torch._utils._rebuild_tensor`: a view of a storage, which must be large enough."""
    if not (len(size) == len(stride) <= MAX_DIMENSIONS) or not are_sizes(offset, *size, *stride):
        raise ValueError('not a view')
    if math.prod(size):
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if last >= len(flat) or math.prod(size) > max(len(flat), MAX_EXPANDED):
            raise ValueError('outside the storage')
    return flat.as_strided(size, stride, flat.storage_offset() + offset)


def are_sizes(*numbers: Any) -> bool:
    return all(type(number) is int and 0 <= number < 2**63 for number in numbers)


def tensor_of_bytes(
    flat: Tensor, offset: int, size: Any, stride: Any, _grad: Any, _hooks: Any, dtype: Inert, *_: Any
) -> Tensor:
    """`torch._utils._rebuild_tensor_v3`: the same over a storage without a type."""
    kind = getattr(torch, dtype.name.removeprefix('torch.'))
    if not isinstance(kind, torch.dtype):
        raise TypeError(dtype.name)
    return tensor_of(flat.view(torch.uint8).view(kind), offset, size, stride)


def tensor_of_type(make: Inert, _kind: Any, arguments: tuple[Any, ...], *_: Any) -> Any:
    """`torch._tensor._rebuild_from_type_v2`: a tensor of a subclass, as a plain one."""
    return MAKERS[make.name](*arguments)


def parameter_of(data: Tensor, *_: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise TypeError(type(data).__name__)
    return data


def dict_of(pairs: Any = (), *_: Any) -> dict[Any, Any]:
    pairs = pairs.items() if isinstance(pairs, dict) else pairs
    return {hashable(key): value for key, value in pairs}


def list_of(values: Any = (), *_: Any) -> list[Any]:
    if not isinstance(values, list | tuple):
        raise TypeError(type(values).__name__)
    return list(values)


def tuple_of(values: Any = (), *_: Any) -> tuple[Any, ...]:
    return tuple(list_of(values))


def bytes_of(text: str, encoding: str = 'latin1') -> bytes:
    """`_codecs.encode`, by which old protocols write bytes."""
    if encoding not in ('latin1', 'latin-1'):
        raise ValueError(encoding)
    return text.encode('latin-1')


def object_of(kind: Inert, *arguments: Any) -> Any:
    """`copyreg._reconstructor(class, base, state)` and `copyreg.__newobj__(class, *args)`."""
    make = MAKERS.get(kind.name)
    return Inert(kind.name) if make is None else make()


def numpy_dtype(record: Inert) -> np.dtype[Any]:
    (kind, *_), order = record.arguments, record.state[1] if record.state else '='
    if record.name != 'numpy.dtype' or not re.fullmatch(r'[fiub][1248]', kind) or order not in ('<', '>', '|', '='):
        raise TypeError('not a numeric type')
    return np.dtype(f'{order}{kind}')


def numpy_tensor(data: Any, dtype: Inert, shape: tuple[int, ...], fortran: bool) -> Tensor:
    data = data.encode('latin-1') if isinstance(data, str) else data
    array = np.frombuffer(data, numpy_dtype(dtype))
    if len(shape) > MAX_DIMENSIONS or not are_sizes(*shape) or math.prod(shape) != len(array):
        raise ValueError('another shape')
    array = array.reshape(shape, order='F' if fortran else 'C')
    return torch.from_numpy(array.astype(array.dtype.newbyteorder('='), order='C', copy=True))


def tensor_or_none(value: Any) -> Tensor | None:
    """A tensor, or the record of a numeric `numpy.ndarray` as one; None for anything else."""
    if isinstance(value, Tensor):
        return value
    if not isinstance(value, Inert) or value.name != 'numpy.ndarray':
        return None
    try:
        _version, shape, dtype, fortran, data = value.state
        return numpy_tensor(data, dtype, shape, fortran)
    except (TypeError, ValueError, AttributeError, LookupError, RuntimeError):
        return None


def array_from_buffer(data: Any, dtype: Inert, shape: tuple[int, ...], order: str = 'C', *_: Any) -> Tensor:
    return numpy_tensor(data, dtype, shape, order == 'F')


def array_record(kind: Inert, *_: Any) -> Inert:
    """`numpy.core.multiarray._reconstruct`: an empty array, whose state follows."""
    return Inert(kind.name)


def numpy_scalar(dtype: Inert, data: Any) -> Any:
    return numpy_tensor(data, dtype, (), False).item()


MAKERS: dict[str, Callable[..., Any]] = {
    'torch._utils._rebuild_tensor': tensor_of,
    'torch._utils._rebuild_tensor_v2': tensor_of,
    'torch._utils._rebuild_tensor_v3': tensor_of_bytes,
    'torch._utils._rebuild_parameter': parameter_of,
    'torch._utils._rebuild_parameter_with_state': parameter_of,
    'torch._tensor._rebuild_from_type': tensor_of_type,
    'torch._tensor._rebuild_from_type_v2': tensor_of_type,
    'torch.Size': tuple_of,
    '_codecs.encode': bytes_of,
    'collections.OrderedDict': dict_of,
    'collections.defaultdict': lambda factory=None, *arguments: dict_of(*arguments),
    'collections.Counter': dict_of,
    'collections.deque': list_of,
    'builtins.dict': dict_of,
    'builtins.list': list_of,
    'builtins.set': list_of,
    'builtins.frozenset': list_of,
    'builtins.tuple': tuple_of,
    'copyreg._reconstructor': object_of,
    'copyreg.__newobj__': object_of,
}
for module in ('numpy.core', 'numpy._core'):
    MAKERS[f'{module}.multiarray._reconstruct'] = array_record
    MAKERS[f'{module}.multiarray.scalar'] = numpy_scalar
    MAKERS[f'{module}.numeric._frombuffer'] = array_from_buffer
