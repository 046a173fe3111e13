"""Tiny runs for the tests of the command line."""

from __future__ import annotations

import contextlib
import io
import os
import runpy
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import torch
import torch.distributed as dist

from ..ranks import TwoRanks

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
# The same without metrics.json, pictures and a saved tokenizer, which take longer than the training itself.
NO_REPORT = [*TINY, 'default_hooks.report=None']


@dataclass(frozen=True)
class Done:
    """What a command did."""

    returncode: int
    stdout: str
    stderr: str


def start_tool(name: str, *arguments: str, cwd: Path, env: dict[str, str] | None = None) -> Done:
    """Run `tools/NAME.py` in a process of its own, as a user would."""
    command = [sys.executable, str(REPO / 'tools' / f'{name}.py'), *arguments]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


def tool(name: str, *arguments: str, cwd: Path) -> Done:
    """Run `tools/NAME.py` in this process, which saves the seconds that imports take."""
    out, err, script = io.StringIO(), io.StringIO(), REPO / 'tools' / f'{name}.py'
    argv = patch.object(sys, 'argv', [str(script), *arguments])
    with argv, contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_path(str(script), run_name='__main__')
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


def tool_on_rank(rank: int, port: int, name: str, *arguments: str) -> Done:
    """Run `tools/NAME.py` in one of two processes with the environment of torchrun: it joins the group by itself."""
    dist.destroy_process_group()
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    return tool(name, *arguments, cwd=REPO)


def tool_on_two_ranks(two_ranks: TwoRanks, name: str, *arguments: str) -> list[Done]:
    """What `tools/NAME.py` does in each of two processes, rank 0's first."""
    return two_ranks.run(tool_on_rank, free_port(), name, *arguments)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return free.getsockname()[1]


def checkpoint(path: Path) -> dict:
    """A checkpoint, loaded as we promise it can be."""
    return torch.load(path, weights_only=True)
