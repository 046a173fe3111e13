"""Which device `auto` is, and what is refused in one line."""

from __future__ import annotations

import pytest
import torch

from fvq_core.errors import UserError
from fvq_core.ops.distributed import choose_device, join_group
from fvq_eval.benchmark.scheduler import make_slots


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that claims to have two GPUs, and an environment that does not choose."""
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.delenv('FVQ_DEVICE')
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)


@pytest.mark.usefixtures('two_gpus')
def test_auto_is_a_gpu_unless_the_environment_names_another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device('auto') == torch.device('cuda')
    monkeypatch.setenv('FVQ_DEVICE', 'cpu')
    assert choose_device('auto') == torch.device('cpu')
    assert choose_device('cuda:1') == torch.device('cuda:1')
    monkeypatch.setenv('FVQ_DEVICE', 'cuda:1')
    assert choose_device('auto') == torch.device('cuda:1')
    assert choose_device('cpu') == torch.device('cpu')
    for nothing in ('', 'auto'):
        monkeypatch.setenv('FVQ_DEVICE', nothing)
        assert choose_device('auto') == torch.device('cuda')


def test_auto_without_a_gpu_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.delenv('FVQ_DEVICE')
    assert choose_device('auto') == torch.device('cpu')
    monkeypatch.setenv('FVQ_DEVICE', 'cuda')
    with pytest.raises(UserError, match="FVQ_DEVICE='cuda' but this machine has no usable GPU"):
        choose_device('auto')
    with pytest.raises(UserError, match="device='cuda:1' but this machine has no usable GPU"):
        choose_device('cuda:1')


@pytest.mark.usefixtures('two_gpus')
@pytest.mark.parametrize('wanted', ['gpu', 'mps', 'meta', 'cuda:x', ''])
def test_devices_that_nothing_runs_on_are_refused_with_what_there_is(
    wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=f"device: expected auto, cpu, cuda or cuda:N, got '{wanted}'"):
        choose_device(wanted)
    if wanted:
        monkeypatch.setenv('FVQ_DEVICE', wanted)
        with pytest.raises(UserError, match=f"FVQ_DEVICE: expected auto, cpu, cuda or cuda:N, got '{wanted}'"):
            choose_device('auto')
    with pytest.raises(UserError, match="one of this machine's 2 GPUs, got 'cuda:2'"):
        choose_device('cuda:2')


@pytest.mark.usefixtures('two_gpus')
def test_more_processes_than_gpus_are_refused_before_they_wait_for_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '3')
    with pytest.raises(UserError, match=r'each of the 3 processes on this machine, got 2; use --nproc-per-node 2'):
        join_group('pytorch', 'auto')


@pytest.mark.usefixtures('two_gpus')
def test_a_benchmark_runs_one_row_a_gpu_or_one_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [slot['CUDA_VISIBLE_DEVICES'] for slot in make_slots('auto', 1)] == ['0', '1']
    monkeypatch.setenv('FVQ_DEVICE', 'cpu')
    (slot,) = make_slots('auto', 1)
    assert 'CUDA_VISIBLE_DEVICES' not in slot
