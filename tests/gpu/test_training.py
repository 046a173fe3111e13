"""Training on a GPU: it does not wait, and goes on where it stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from fvq_core.commands import train
from fvq_core.ops.distributed import choose_device
from fvq_core.training.checkpoint import read_checkpoint
from fvq_core.training.optim_wrapper import build_optim_wrappers

from ..cli.helpers import NO_REPORT, PHOTOS, TINY
from ..cli.test_exact_resume import assert_same_ending
from .tasks import small_task

pytestmark = pytest.mark.gpu
DEVICE = torch.device('cuda')


def test_auto_is_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('FVQ_DEVICE')
    assert choose_device('auto').type == 'cuda'
    assert choose_device('cpu').type == 'cpu'


@pytest.mark.filterwarnings('ignore:Synchronization debug mode is a prototype')
@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
@pytest.mark.parametrize('adversarial', [False, True])
def test_a_training_step_does_not_wait_for_the_device(precision: str, adversarial: bool) -> None:
    discriminator = dict(type='PatchGAN', ch=8, layers=1)
    gan = dict(adversarial=dict(type='AdversarialLoss', start=0, discriminator=discriminator)) if adversarial else {}
    task = small_task(DEVICE, **gan)
    optimizer = dict(type='Adam', lr=1e-3, fused=True)
    wrappers = build_optim_wrappers(
        dict(type='ClippedOptimWrapper', optimizer=optimizer, max_norm=1.0, precision=precision), task.parts()
    )
    images = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8).pin_memory()
    for _ in range(2):  # libraries take their workspaces
        task.train_step([{'images': images}], wrappers, 0)
    torch.cuda.synchronize()
    try:
        torch.cuda.set_sync_debug_mode('error')
        losses = task.train_step([{'images': images}], wrappers, 1)['losses']
    finally:
        torch.cuda.set_sync_debug_mode('default')
    assert losses['total'].isfinite()


@pytest.mark.parametrize('device', ['cuda', 'cpu'])
def test_a_run_of_a_gpu_is_resumed_on_either(run: Path, device: str, tmp_path: Path) -> None:
    (tmp_path / 'iter_6.pth').write_bytes((run / 'iter_6.pth').read_bytes())
    call = [PHOTOS, '--work-dir', str(tmp_path), '--resume', '--cfg-options', *TINY, f'device={device}']
    assert train.main(call) == 0
    expected, got = (read_checkpoint(folder / 'iter_9.pth')['state_dict'] for folder in (run, tmp_path))
    for key, value in expected.items():
        torch.testing.assert_close(got[key], value, rtol=0.05, atol=5e-3, msg=lambda m, k=key: f'{k}: {m}')


@pytest.fixture
def deterministic() -> Iterator[None]:
    """Operators that add in any order give way to others, or raise."""
    before = torch.backends.cudnn.deterministic
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic = True
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = before


@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_with_deterministic_operators_a_resumed_run_ends_bit_for_bit_as_one_that_never_stopped(
    precision: str, deterministic: None, tmp_path: Path
) -> None:
    straight, resumed = tmp_path / 'straight', tmp_path / 'resumed'
    options = [*NO_REPORT, f'device={DEVICE.type}', f'optim_wrapper.precision={precision}']
    assert train.main([PHOTOS, '--work-dir', str(straight), '--cfg-options', *options]) == 0
    resumed.mkdir()
    for name in ('iter_6.pth', 'history.jsonl'):
        (resumed / name).write_bytes((straight / name).read_bytes())
    assert train.main([PHOTOS, '--work-dir', str(resumed), '--resume', '--cfg-options', *options]) == 0
    assert_same_ending(straight, resumed)
