"""Data sets that stay on the device: the batches of the loader, bit for bit, from any position and on any rank."""

from __future__ import annotations

import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

import fvq_core.data.loader as loader_module
from fvq_core.config.read import load_config
from fvq_core.data import seekable_sampler
from fvq_core.data.loader import Loader, build_loader
from fvq_core.errors import UserError
from fvq_core.images import device_images
from fvq_core.ops import image_store
from fvq_core.ops.identical import identical
from fvq_core.training.checkpoint import read_checkpoint
from fvq_core.training.runner import Runner

RANDOM = dict(type='ADMRandomCrop', size=32, min_fraction=0.25, upsample=True)
FLIP, FLIP_LATER = dict(type='HorizontalFlip'), dict(type='HorizontalFlip', on_device=True)
FOLDERS = {
    'random crops': [RANDOM, FLIP],
    'mirrored by the device': [RANDOM, FLIP, FLIP_LATER],
    'centre crops': [dict(type='ADMCenterCrop', size=32, upsample=True)],
    'small images are errors': [dict(type='ADMRandomCrop', size=32)],
}
PHOTOS = {
    'crops': dict(split='train', crop_size=32, crops=50),
    'shrunk': dict(split='train', crop_size=32, crops=50, short_side=64),
    'two parts': dict(split='train', crop_size=32, crops=50, held_out=1),
    'evaluation': dict(split='eval', crop_size=32, crops=50),
}
DATASETS = {
    **{name: dict(type='ImageFolder', transforms=transforms) for name, transforms in FOLDERS.items()},
    **{name: dict(type='BundledPhotos', **arguments) for name, arguments in PHOTOS.items()},
}


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Small, large, long and tall images, one that is turned by its EXIF tag, and a file that cannot be read."""
    folder = tmp_path_factory.mktemp('images')
    noise = np.random.default_rng(0)
    for number, size in enumerate([(100, 140), (300, 90), (64, 64), (50, 200), (33, 31), (400, 420), (77, 80)]):
        Image.fromarray(noise.integers(0, 256, (*size, 3), dtype=np.uint8)).save(folder / f'{number}.png')
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(noise.integers(0, 256, (90, 60, 3), dtype=np.uint8)).save(folder / 'turned.jpg', exif=exif)
    (folder / 'unreadable.png').write_bytes(b'\x89PNG\r\n\x1a\n of sorts')
    return str(folder)


def loaders(dataset: dict[str, Any], folder: str, train: bool = True, start: int = 0) -> list[Loader]:
    """Of the same data: read for every batch, and kept on the device."""
    dataset = dict(dataset, root=folder) if dataset['type'] == 'ImageFolder' else dataset
    both = [build_loader(dict(dataset=dataset, batch_size=4, on_device=kept), 3, train) for kept in (False, True)]
    for loader in both if train else ():
        loader.sampler.start = start
    return both


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    for key in ('unreadable', 'reasons', 'error'):
        assert one[key] == other[key]
    assert torch.equal(one['labels'], other['labels'])
    assert (one['images'] is None) == (other['images'] is None)
    if one['images'] is not None:
        assert torch.equal(device_images(one, 'cpu'), device_images(other, 'cpu'))


@pytest.mark.parametrize('train', [True, False])
@pytest.mark.parametrize('name', DATASETS)
def test_batches_are_those_of_the_loader(name: str, train: bool, folder: str) -> None:
    read, kept = loaders(DATASETS[name], folder, train, start=17)
    batches = list(islice(read, 8))
    for one, other in zip(batches, islice(kept, 8), strict=True):
        assert_same(one, other)
    if name in FOLDERS:
        assert any(batch['unreadable'] for batch in batches) or not train
    assert any(batch['error'] for batch in batches) == (name == 'small images are errors')


@pytest.mark.parametrize('rank', [0, 1, 2])
def test_every_rank_gets_its_own_share(rank: int, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (loader_module, seekable_sampler):
        monkeypatch.setattr(module, 'get_dist_info', lambda: (rank, 3))
    read, kept = loaders(DATASETS['random crops'], folder, start=7)
    for one, other in zip(islice(read, 4), islice(kept, 4), strict=True):
        assert_same(one, other)


def test_files_are_read_once(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, kept = loaders(DATASETS['random crops'], folder)
    monkeypatch.setattr(type(kept.dataset), 'read', lambda self, number: pytest.fail('a file was read again'))
    assert all(len(batch['images']) == 4 for batch in islice(kept, 5))
    assert kept.num_workers == 0


def test_what_does_not_fit_is_refused_with_sizes_or_read_again(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_store, 'usable_memory', lambda device: 2**20)
    dataset = dict(DATASETS['random crops'], root=folder)
    with pytest.raises(
        UserError, match=r'of 9 images take 0\.\d MiB, more than the 0\.2 MiB \(25% of the memory of cpu\)'
    ):
        build_loader(dict(dataset=dataset, batch_size=4, on_device=True), 0, train=True)
    again = build_loader(dict(dataset=dataset, batch_size=4, on_device='auto', num_workers=1), 0, train=True)
    assert again.num_workers == 1
    read = build_loader(dict(dataset=dataset, batch_size=4), 0, train=True)
    for one, other in zip(islice(read, 3), islice(again, 3), strict=True):
        assert_same(one, other)


@pytest.mark.parametrize(
    ('changes', 'match'),
    [
        (dict(on_device='cuda'), "on_device must be True, False or 'auto', got 'cuda'"),
        (dict(transforms=[FLIP]), 'ADM crop as the first transform and nothing but flips after it, got HorizontalFlip'),
        (dict(transforms=[RANDOM], decoder='auto'), "on_device=True needs decoder='pil'"),
    ],
)
def test_what_cannot_be_kept_is_refused_in_one_line(changes: dict[str, Any], match: str, folder: str) -> None:
    of_data = {key: value for key, value in changes.items() if key != 'on_device'}
    dataset = dict(type='ImageFolder', root=folder, **of_data) if of_data else dict(DATASETS['crops'])
    on_device = changes.get('on_device', True)
    with pytest.raises(UserError, match=match):
        build_loader(dict(dataset=dataset, batch_size=4, on_device=on_device), 0, train=True)


def tiny_run(work_dir: Path, on_device: bool, resume: bool = False) -> Config:
    row = str(Path(__file__).parents[2] / 'configs/mini/vq.py')
    options = {
        'train_dataloader.batch_size': 2,
        'train_dataloader.on_device': on_device,
        'val_dataloader.dataset.crops': 2,
        'val_dataloader.on_device': on_device,
        'train_cfg.max_iters': 4,
        'default_hooks.checkpoint.interval': 2,
        'default_hooks.checkpoint.max_keep': 0,
        'default_hooks.report': None,
        'model.tokenizer.quantizer.codebook_size': 16,
    }
    cfg = load_config(row, options, work_dir=str(work_dir))
    cfg.device, cfg.resume = 'cpu', resume
    return cfg


def test_a_run_ends_alike_and_may_be_resumed_the_other_way(tmp_path: Path) -> None:
    for name, on_device in (('read', False), ('kept', True)):
        Runner.from_cfg(tiny_run(tmp_path / name, on_device)).train()
    (tmp_path / 'resumed').mkdir()
    shutil.copy(tmp_path / 'read/iter_2.pth', tmp_path / 'resumed')
    Runner.from_cfg(tiny_run(tmp_path / 'resumed', on_device=True, resume=True)).train()
    read, kept, resumed = (
        read_checkpoint(tmp_path / name / 'iter_4.pth')['state_dict'] for name in ('read', 'kept', 'resumed')
    )
    assert identical(read, kept)
    assert identical(read, resumed)
