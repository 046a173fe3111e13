"""Tiny runs for the tests of the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

REPO = Path(__file__).parents[2]
PHOTOS = str(REPO / 'configs/fvq/fvq_photos.py')

# A run of seconds: the real config with fewer, smaller batches. The log interval does not divide the checkpoint's.
TINY = [
    'train_dataloader.batch_size=2',
    'train_dataloader.dataset.crops=7',
    'val_dataloader.dataset.crops=4',
    'train_cfg.max_iters=9',
    'train_cfg.val_interval=4',
    'default_hooks.checkpoint.interval=3',
    'default_hooks.training_log.interval=2',
    'model.tokenizer.quantizer.codebook_size=64',
]


def tool(name: str, *arguments: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `tools/NAME.py` as a user would."""
    command = [sys.executable, str(REPO / 'tools' / f'{name}.py'), *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def checkpoint(path: Path) -> dict:
    """A checkpoint, loaded as we promise it can be."""
    return torch.load(path, weights_only=True)
