"""The same evaluation by one process or by two."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from fvq_core.errors import UserError
from fvq_eval.generation import ImageSetEvaluator

RANDOM = dict(type='RandomFeatures', pool=64, spatial=48, logits=20)


def scores(made: str, real: str) -> dict[str, float]:
    """What this process gets."""
    evaluator = ImageSetEvaluator(preset='strict', extractor=RANDOM, cache=None)
    return {name: metric.value for name, metric in evaluator.evaluate(made, real).metrics.items()}


def work(rank: int, folder: str, pairs: Sequence[tuple[str, str]]) -> None:
    """One of two processes."""
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=2)
    Path(f'{folder}/rank{rank}.json').write_text(json.dumps([scores(*pair) for pair in pairs]))
    dist.barrier()
    dist.destroy_process_group()


def run_both_ranks(folder: Path, pairs: Sequence[tuple[str, str]]) -> list[list[dict[str, float]]]:
    """What each of two processes gets for each pair of image sets."""
    os.environ.setdefault('GLOO_SOCKET_IFNAME', 'lo')
    mp.spawn(work, (str(folder), pairs), nprocs=2)
    return [json.loads((folder / f'rank{rank}.json').read_text()) for rank in range(2)]


def fail(rank: int, folder: str, made: str, cache: str) -> None:
    """One of two processes, whose evaluation stops."""
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/meeting', rank=rank, world_size=2)
    try:
        ImageSetEvaluator(preset='strict', extractor=RANDOM, metrics=['inception_score'], cache=cache).evaluate(made)
    except UserError as error:
        Path(f'{folder}/mistake{rank}').write_text(str(error))
    dist.destroy_process_group()


def mistakes_of_both_ranks(folder: Path, made: str, cache: str) -> list[str]:
    """What each of two processes says of a set that cannot be scored."""
    os.environ.setdefault('GLOO_SOCKET_IFNAME', 'lo')
    mp.spawn(fail, (str(folder), made, cache), nprocs=2)
    return [(folder / f'mistake{rank}').read_text() for rank in range(2)]
