"""A disk that fills up while a checkpoint is written costs that checkpoint and nothing else."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from fvq_core.commands import train

from .helpers import NO_REPORT, PHOTOS, checkpoint


def fill_disk_at(monkeypatch: pytest.MonkeyPatch, names: set[str]) -> None:
    """Flushing the staging files of these checkpoints fails, with half of each written."""
    fsync = os.fsync

    def failing(handle: int) -> None:
        path = Path(f'/proc/self/fd/{handle}').readlink()
        if any(path.name.startswith(f'.{name}.') for name in names):
            os.ftruncate(handle, os.fstat(handle).st_size // 2)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    monkeypatch.setattr(os, 'fsync', failing)


@pytest.mark.skipif(not os.path.isdir('/proc/self/fd'), reason='finds file names in /proc')
@pytest.mark.parametrize(('full_at', 'code', 'left'), [('iter_6.pth', 0, [3, 9]), ('iter_9.pth', 2, [3, 6])])
def test_a_checkpoint_that_cannot_be_written(
    full_at: str, code: int, left: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    fill_disk_at(monkeypatch, {full_at})
    work_dir = tmp_path / 'work'
    assert train.main((PHOTOS, '--work-dir', str(work_dir), '--cfg-options', *NO_REPORT)) == code
    output = ''.join(capfd.readouterr())
    assert f'{full_at} could not be written' in output
    assert 'No space left' in output
    assert sorted(path.name for path in work_dir.glob('*iter_*')) == [f'iter_{number}.pth' for number in left]
    assert checkpoint(work_dir / f'iter_{left[-1]}.pth')['meta']['iter'] == left[-1]
