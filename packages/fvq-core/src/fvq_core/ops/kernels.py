"""Which of our Triton kernels run: the switch `FVQ_KERNELS`, what a card has proven, and what the device can do."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from typing import TypeVar

import torch

from ..errors import UserError, nearest_hint

T = TypeVar('T')

SWITCH = 'FVQ_KERNELS'
CHOICES = ('off', 'proven', 'all')
OLDEST = (8, 0)  # compute capability: bfloat16 in tensor cores, since the A100

KERNELS: dict[str, Kernel] = {}


@dataclass
class Kernel:
    """The switch of one kernel, or of several that go together; a plain formulation in torch stands beside it.

    Args:
        name: Name, listed in `KERNELS`.
        proven: Whether `make gpu-check` has shown equality and gain on a card for the source as it is. Set it together with the
            result in `docs/gpu`, and unset it with each change of the source: a test compares the two.
    """

    name: str
    proven: bool = False
    failed: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        KERNELS[self.name] = self

    def enabled(self, device: torch.device) -> bool:
        """Whether to launch on this device."""
        if self.failed or not (self.proven if switch() == 'proven' else switch() == 'all'):
            return False
        return can_launch(device.type, device.index)

    # What torch.compiler.assume_constant_result sets, but that imports the compiler.
    enabled._dynamo_marked_constant = True  # pyrefly: ignore[missing-attribute]

    def run(self, launch: Callable[[], T], plain: Callable[[], T]) -> T:
        """What `launch` returns; if the kernel neither compiles nor launches, `plain` from then on, with one warning.

        Running out of memory, torch's or the driver's at a launch, is raised: the plain formulation needs more.
        """
        if self.failed:
            return plain()
        try:
            return launch()
        except Exception as error:  # Triton raises its own, the compiler's and the driver's
            if isinstance(error, torch.OutOfMemoryError) or (
                isinstance(error, RuntimeError) and 'out of memory' in str(error)
            ):
                raise
            self.failed = True
            first_line = (str(error).splitlines() or [''])[0]
            warnings.warn(
                f'the kernel {self.name} does not run here, plain torch takes its place ({type(error).__name__}: '
                f'{first_line}); {SWITCH}=off goes without it.',
                RuntimeWarning,
                stacklevel=2,
            )
            return plain()


@cache
def switch() -> str:
    """`off`: plain torch. `proven`, the default: kernels that a card has proven. `all`: also those that none has yet.

    Raises:
        UserError: Another value of `FVQ_KERNELS`.
    """
    value = os.environ.get(SWITCH, 'proven')
    if value not in CHOICES:
        raise UserError(f"{SWITCH} must be one of {', '.join(CHOICES)}, got '{value}'; {nearest_hint(value, CHOICES)}")
    return value


def interpreted() -> bool:
    """Whether Triton's interpreter runs kernels, on CPUs too."""
    return os.environ.get('TRITON_INTERPRET') == '1'


@cache
def can_launch(device_type: str, index: int | None) -> bool:
    """Whether Triton is there, and the device can do what the kernels need."""
    if find_spec('triton') is None:
        return False
    if device_type == 'cuda' and torch.version.hip is None:
        return torch.cuda.get_device_capability(index) >= OLDEST
    return device_type == 'cpu' and interpreted()
