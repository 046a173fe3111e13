"""The same evaluation by one process, or by two with the odd and the even images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from PIL import Image

from fvq_core.data.image_folder import ImageFolder
from fvq_core.errors import UserError
from fvq_core.metric import MetricValue
from fvq_core.tokenizer import Tokenizer
from fvq_eval.reconstruction import PresetEvaluator
from tests.tiny import tiny_tokenizer

NAMES = ['adm', 'llamagen', 'fvq-release', 'ibq', 'rqvae', 'strict']
SIZE = 64
SIDES = [(80, 70), (64, 64), (150, 90), (50, 60), (66, 131), (200, 201), (97, 65)]


def write_images(folder: Path) -> str:
    """Seven smooth images of several sizes, as PNG."""
    for number, (width, height) in enumerate(SIDES):
        rng = np.random.default_rng(number)
        coarse = Image.fromarray(rng.integers(0, 256, (9, 11, 3), dtype=np.uint8))
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(folder / f'{number}.png')
    return str(folder)


def evaluator(presets: Sequence[str], images: int | None = None) -> PresetEvaluator:
    """With random features and no perceptual network."""
    return PresetEvaluator(
        presets, extractor=dict(type='RandomFeatures'), lpips_weights='/nowhere', image_size=SIZE, images=images
    )


def seeded_tokenizer() -> Tokenizer:
    """The same one each time."""
    torch.manual_seed(0)
    return tiny_tokenizer()


def evaluate(files: ImageFolder) -> dict[str, MetricValue]:
    return evaluator(NAMES).evaluate(seeded_tokenizer(), files, batch_size=4)


def work(rank: int, folder: str, root: str) -> None:
    """One of two processes."""
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=2)
    got: dict[str, Any] = {key: value.to_dict() for key, value in evaluate(ImageFolder(root)).items()}
    torch.save(got, f'{folder}/rank{rank}.pt')
    dist.barrier()
    dist.destroy_process_group()


def run_both_ranks(folder: Path, root: str) -> list[dict[str, Any]]:
    """What each of two processes returns."""
    os.environ.setdefault('GLOO_SOCKET_IFNAME', 'lo')
    mp.spawn(work, (str(folder), root), nprocs=2)
    return [torch.load(folder / f'rank{rank}.pt', weights_only=True) for rank in range(2)]


def fail(rank: int, folder: str, root: str) -> None:
    """One of two processes, of which one alone meets a file that it cannot read."""
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/meeting', rank=rank, world_size=2)
    try:
        evaluate(ImageFolder(root))
    except UserError as error:
        Path(f'{folder}/mistake{rank}').write_text(str(error))
    dist.destroy_process_group()


def mistakes_of_both_ranks(folder: Path, root: str) -> list[str]:
    """What each of two processes says."""
    os.environ.setdefault('GLOO_SOCKET_IFNAME', 'lo')
    mp.spawn(fail, (str(folder), root), nprocs=2)
    return [(folder / f'mistake{rank}').read_text() for rank in range(2)]
