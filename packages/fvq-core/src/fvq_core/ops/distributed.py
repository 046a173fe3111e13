"""Devices and process groups."""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import sys
from datetime import timedelta

import torch
import torch.distributed as dist
from mmengine.dist import init_dist

from ..errors import UserError

# Seconds that a rank waits for a late one. If one dies, its launcher ends the job at once.
TIMEOUT_S = 600.0
MAX_TIMEOUT_S = 1e9  # about thirty years; torch counts in nanoseconds
LAUNCHERS = ('auto', 'none', 'pytorch', 'slurm')
PR_SET_PDEATHSIG = 1  # of Linux's prctl


def choose_device(wanted: str) -> torch.device:
    """The device of a name; `'auto'` is the environment variable FVQ_DEVICE, else a GPU if there is one, else the CPU.

    Each process of a distributed run has its own GPU.

    Raises:
        UserError: The device does not exist, or not on this machine.
    """
    said_by = 'device'
    if wanted == 'auto':
        said_by, wanted = 'FVQ_DEVICE', os.environ.get('FVQ_DEVICE') or 'auto'
    if wanted == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(wanted)
    except RuntimeError:
        device = None
    if device is None or device.type not in ('cpu', 'cuda'):
        raise UserError(f"{said_by}: expected auto, cpu, cuda or cuda:N, got '{wanted}'; name one of them.")
    if device.type == 'cuda' and not torch.cuda.is_available():
        raise UserError(f"{said_by}='{wanted}' but this machine has no usable GPU; use {said_by}='cpu' or 'auto'.")
    if device.type == 'cuda' and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"{said_by}: expected one of this machine's {torch.cuda.device_count()} GPUs, got '{wanted}'; "
            'they count from 0.'
        )
    return device


def find_launcher(wanted: str) -> str:
    """`'auto'` is `'pytorch'` inside torchrun and `'none'` elsewhere."""
    if wanted != 'auto':
        return wanted
    return 'pytorch' if {'RANK', 'WORLD_SIZE', 'LOCAL_RANK'} <= os.environ.keys() else 'none'


def join_group(launcher: str, device: str, timeout_s: float = TIMEOUT_S) -> None:
    """Join the other processes of a run, over NCCL on GPUs and over gloo on CPUs; does nothing for one process.

    A collective fails after `timeout_s` seconds. NCCL's fails after twice as long: it ends the process without naming the
    late rank, which `Meeting` does before.

    Raises:
        UserError: A restarting torchrun that shares its store, Slurm without GPUs, more processes on this machine than it has
            GPUs, or a time-out of 0.
    """
    if launcher == 'none' or dist.is_initialized():
        return
    if not 0 < timeout_s < MAX_TIMEOUT_S:
        raise UserError(
            f'timeout: expected seconds above 0 and below {MAX_TIMEOUT_S:g}, got {timeout_s}; {TIMEOUT_S:g} is the default.'
        )
    restarts, shared = (os.environ.get(f'TORCHELASTIC_{name}', '') for name in ('MAX_RESTARTS', 'USE_AGENT_STORE'))
    if launcher == 'pytorch' and shared == 'True' and restarts not in ('', '0'):
        raise UserError(
            'torchrun --max-restarts: restarted ranks would read the addresses of dead ones (pytorch/pytorch#135712); start '
            'torchrun with TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1, on several machines with --rdzv-backend c10d too.'
        )
    if launcher == 'pytorch':
        stop_with_agent()
    os.environ.setdefault('MKL_NUM_THREADS', os.environ.get('OMP_NUM_THREADS', '1'))  # else mmengine does, and warns
    if choose_device(device).type == 'cuda':
        here, gpus = int(os.environ.get('LOCAL_WORLD_SIZE', '1')), torch.cuda.device_count()
        if here > gpus:
            raise UserError(
                f'torchrun: expected one GPU for each of the {here} processes on this machine, got {gpus}; use '
                f"--nproc-per-node {gpus}, or train on the CPU with device='cpu'."
            )
        init_dist(launcher, backend='nccl', timeout=timedelta(seconds=2 * timeout_s))
    elif launcher == 'pytorch':  # mmengine's launchers select a GPU, which is not there
        dist.init_process_group('gloo', timeout=timedelta(seconds=timeout_s))
    else:
        raise UserError(f"launcher '{launcher}' needs GPUs; start CPU processes with torchrun.")


def leave_group(code: int = 0) -> None:
    """Leave the other processes of a run; a rank of torchrun ends here, with the exit code.

    Threads of gloo outlive their group and may abort the interpreter's clean-up, so that launchers read another code.
    """
    if dist.is_initialized():
        dist.destroy_process_group()
    if 'TORCHELASTIC_RUN_ID' in os.environ:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def stop_with_agent() -> None:
    """Receive SIGTERM when torchrun dies: else this rank would train on, beside those that a new torchrun starts."""
    if sys.platform == 'linux' and 'TORCHELASTIC_RUN_ID' in os.environ:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
