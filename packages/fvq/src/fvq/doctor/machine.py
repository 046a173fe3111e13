"""The machine: torch and its devices, cores, memory, disk."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .finding import GIB, Finding, gib

LITTLE_DISK, LITTLE_MEMORY, LITTLE_SHARED = 5 * GIB, 4 * GIB, GIB


def check_torch() -> Iterator[Finding]:
    """torch, what it computes on, and a training step there."""
    try:
        import torch

        from fvq_core.ops.distributed import choose_device
    except (ImportError, OSError) as error:  # OSError: a library of CUDA that does not load
        yield Finding('torch', 'torch', str(error), 'stop', "pip install 'fvq[train]'")
        return
    yield Finding('torch', 'torch', torch.__version__)
    yield Finding('torch', 'CUDA', f'built for {torch.version.cuda}' if torch.version.cuda else 'built without')
    for number in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(number)
        free, total = torch.cuda.mem_get_info(number)
        half = 'bfloat16' if torch.cuda.is_bf16_supported() else 'no bfloat16'
        kind = f'{gpu.name}, compute capability {gpu.major}.{gpu.minor}, {half}'
        yield Finding('torch', f'cuda:{number}', f'{kind}, {gib(free)} of {gib(total)} free')
    if not torch.cuda.is_available():
        unseen = torch.version.cuda and shutil.which('nvidia-smi')
        remedy = 'nvidia-smi is here, and torch sees no GPU: driver too old, or CUDA_VISIBLE_DEVICES' if unseen else ''
        yield Finding('torch', 'GPU', 'none: training runs on the CPU', 'note', remedy)
    device = choose_device('auto')
    try:
        train_a_step(device)
    except RuntimeError as error:  # torch's for every failure of a device
        reason = str(error).strip().split('\n')[0]
        yield Finding('torch', f'a training step on {device}', reason, 'stop', 'FVQ_DEVICE=cpu trains on the CPU')
    else:
        yield Finding('torch', f'a training step on {device}', 'works')
    compiler = shutil.which(os.environ.get('CXX') or 'c++') or shutil.which('g++')
    remedy = '' if compiler else 'apt install g++; only model.compile=True on a CPU needs it'
    yield Finding('torch', 'C++ compiler', compiler or 'none', 'ok' if compiler else 'note', remedy)


def train_a_step(device: object) -> None:
    """Forward, backward and an optimizer's step of a small convolution; raises RuntimeError if the device cannot."""
    import torch

    network = torch.nn.Conv2d(3, 8, 3).to(device)  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(2, 3, 16, 16, device=device)).square().mean().backward()  # type: ignore[arg-type]
    optimizer.step()
    if not all(bool(weight.isfinite().all()) for weight in network.parameters()):
        raise RuntimeError('a training step gave numbers that are not finite')


def check_machine() -> Iterator[Finding]:
    """Cores, memory, disk, and whether runs can be written below this folder."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    yield Finding('machine', 'cores', f'{cores} of {os.cpu_count()}')
    memory = available_memory()
    if memory is not None:
        little = memory < LITTLE_MEMORY
        yield Finding('machine', 'memory', f'{gib(memory)} available', 'note' if little else 'ok')
    shared = Path('/dev/shm')
    if shared.is_dir():
        size = shutil.disk_usage(shared).total
        small = size < LITTLE_SHARED
        remedy = 'in a container: --shm-size 8g or --ipc host, or loader processes die' if small else ''
        yield Finding('machine', 'shared memory', gib(size), 'note' if small else 'ok', remedy)
    folder = Path.cwd()
    free = shutil.disk_usage(folder).free
    remedy = 'a checkpoint may not fit' if free < LITTLE_DISK else ''
    yield Finding('machine', 'disk', f'{gib(free)} free below {folder}', 'note' if remedy else 'ok', remedy)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b'fvq')
    except OSError as error:
        yield Finding('machine', 'work dir', f'{folder}: {error.strerror}', 'stop', 'train from a folder of your own')


def available_memory() -> int | None:
    """Bytes that a process may still take, by the kernel and by the limit of its container; None if neither says."""
    found = []
    meminfo, limit = Path('/proc/meminfo'), Path('/sys/fs/cgroup/memory.max')
    if meminfo.is_file():
        lines = dict(line.split(':', 1) for line in meminfo.read_text().splitlines())
        found.append(int(lines['MemAvailable'].split()[0]) * 1024)
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        found.append(int(text) - int(limit.with_name('memory.current').read_text()))
    return min(found, default=None)
