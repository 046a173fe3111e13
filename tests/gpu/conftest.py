"""A run on the GPU, which several files look at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fvq_core.commands import train

from ..cli.helpers import PHOTOS, TINY

# Without it cuBLAS, which reads it once, is not deterministic, and torch refuses to say that it is.
os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')


@pytest.fixture(scope='session')
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work dir of a run on the GPU."""
    work_dir = tmp_path_factory.mktemp('gpu') / 'work'
    assert train.main([PHOTOS, '--work-dir', str(work_dir), '--cfg-options', *TINY, 'device=cuda']) == 0
    return work_dir
