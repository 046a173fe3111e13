"""Devices and process groups."""

from __future__ import annotations

import os
from datetime import timedelta

import torch
import torch.distributed as dist
from mmengine.device import get_device
from mmengine.dist import init_dist

from ..errors import UserError

# How long a rank waits for another that is late. One that has died ends the job at once, through its launcher.
TIMEOUT = timedelta(minutes=10)
LAUNCHERS = ('auto', 'none', 'pytorch', 'slurm')


def choose_device(wanted: str) -> torch.device:
    """`'auto'` is a GPU where there is one; a process of a distributed run has one of its own.

    Raises:
        UserError: There is no such device, or not on this machine.
    """
    if wanted == 'auto':
        return torch.device(get_device())
    if wanted.startswith('cuda') and not torch.cuda.is_available():
        raise UserError(f"device='{wanted}' but this machine has no usable GPU; use device='cpu' or 'auto'.")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise UserError(f"device: expected auto, cpu, cuda or cuda:N, got '{wanted}'; name one of them.") from error
    if device.type == 'cuda' and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"device: expected one of this machine's {torch.cuda.device_count()} GPUs, got '{wanted}'; they count from 0."
        )
    return device


def find_launcher(wanted: str) -> str:
    """`'auto'` is `'pytorch'` inside torchrun and `'none'` elsewhere."""
    if wanted != 'auto':
        return wanted
    return 'pytorch' if {'RANK', 'WORLD_SIZE', 'LOCAL_RANK'} <= os.environ.keys() else 'none'


def join_group(launcher: str, device: str) -> None:
    """Join the other processes of a run, over NCCL on GPUs and over gloo on CPUs; nothing for one process.

    Raises:
        UserError: Slurm without GPUs.
    """
    if launcher == 'none' or dist.is_initialized():
        return
    os.environ.setdefault('MKL_NUM_THREADS', os.environ.get('OMP_NUM_THREADS', '1'))  # else mmengine does, and warns
    if choose_device(device).type == 'cuda':
        init_dist(launcher, backend='nccl', timeout=TIMEOUT)
    elif launcher == 'pytorch':  # mmengine's launchers select a GPU, which is not there
        dist.init_process_group('gloo', timeout=TIMEOUT)
    else:
        raise UserError(f"launcher '{launcher}' needs GPUs; start CPU processes with torchrun.")
