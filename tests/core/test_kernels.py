"""The switch of our kernels, and what happens where one does not run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from fvq_core.errors import UserError
from fvq_core.ops import kernels
from fvq_core.ops.kernels import Kernel

CPU = torch.device('cpu')


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    monkeypatch.setattr(kernels, 'KERNELS', {})
    monkeypatch.setenv('TRITON_INTERPRET', '1')
    clear()
    yield Kernel('twice')
    clear()


def clear() -> None:
    kernels.switch.cache_clear()
    kernels.can_launch.cache_clear()


@pytest.mark.parametrize(
    ('switch', 'proven', 'enabled'),
    [('off', True, False), ('proven', True, True), ('proven', False, False), ('all', False, True)],
)
def test_the_switch(kernel: Kernel, monkeypatch: pytest.MonkeyPatch, switch: str, proven: bool, enabled: bool) -> None:
    monkeypatch.setenv('FVQ_KERNELS', switch)
    kernel.proven = proven
    assert kernel.enabled(CPU) is enabled


def test_an_unknown_value_of_the_switch(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('FVQ_KERNELS', 'prooven')
    with pytest.raises(UserError, match=r"FVQ_KERNELS must be one of .*; did you mean 'proven'"):
        kernel.enabled(CPU)


def test_a_kernel_that_does_not_compile_is_left_with_one_warning(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('FVQ_KERNELS', 'all')

    def launch() -> int:
        raise RuntimeError('ptxas died\nat length')

    assert kernel.enabled(CPU)
    with pytest.warns(RuntimeWarning, match='the kernel twice does not run here.*ptxas died\\); FVQ_KERNELS=off'):
        assert kernel.run(launch, lambda: 2) == 2
    assert not kernel.enabled(CPU)
    assert kernel.run(launch, lambda: 3) == 3  # silently


@pytest.mark.parametrize(
    'error',
    [torch.OutOfMemoryError('full'), RuntimeError('Triton Error [CUDA]: out of memory')],
    ids=['torch', 'Triton'],
)
def test_out_of_memory_is_no_reason_for_a_way_that_needs_more(kernel: Kernel, error: Exception) -> None:
    def launch() -> int:
        raise error

    with pytest.raises(type(error)):
        kernel.run(launch, lambda: 2)
    assert not kernel.failed


def test_a_kernel_that_wants_more_shared_memory_than_there_is_does_not_run(kernel: Kernel) -> None:
    errors = pytest.importorskip('triton.runtime.errors')

    def launch() -> int:
        raise errors.OutOfResources(300_000, 232_448, 'shared memory')

    with pytest.warns(RuntimeWarning, match='out of resource: shared memory'):
        assert kernel.run(launch, lambda: 2) == 2
    assert kernel.failed


def test_a_cpu_runs_kernels_only_in_the_interpreter(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('FVQ_KERNELS', 'all')
    monkeypatch.delenv('TRITON_INTERPRET')
    assert not kernel.enabled(CPU)
