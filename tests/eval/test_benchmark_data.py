"""Photos of one's own: the same fixed crops for every row and every call, and none that was trained on."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from fvq_core.config.read import load_config
from fvq_core.data.image_folder import ImageFolder
from fvq_core.data.loader import build_loader
from fvq_core.errors import UserError
from fvq_eval.benchmark.comparison import compare
from fvq_eval.benchmark.photo_data import use_photos
from fvq_eval.benchmark.rows import Row
from fvq_eval.benchmark.run import BenchmarkRun, fingerprint
from fvq_eval.commands.benchmark import main

from ..pictures import picture, save
from .benchmark_runs import FVQ, VQ


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photos in train/, five in val/."""
    for split, seeds in (('train', range(3)), ('val', range(10, 15))):
        for seed in seeds:
            save(picture(90, 80, seed), tmp_path / 'photos' / split / 'a' / f'{seed}.png')
    return tmp_path / 'photos'


@pytest.fixture
def work_dir(tmp_path: Path) -> Path:
    return tmp_path / 'work'


def used(photos: Path, crops: int, work_dir: Path, write: bool = True) -> tuple[Config, int]:
    """A config on these photos, and its evaluation crops."""
    cfg = load_config(VQ)
    return cfg, use_photos([cfg], str(photos), crops, work_dir, write)


def leave_run(work_dir: Path) -> None:
    folder = work_dir / 'runs/mini/vq/lr1/seed0'
    folder.mkdir(parents=True)
    (folder / 'request.json').write_text('{}')


def test_photos_replace_the_data_of_every_row_with_the_same_fixed_crops(photos: Path, work_dir: Path) -> None:
    configs = [load_config(VQ), load_config(FVQ, seed=1)]
    assert use_photos(configs, str(photos), 21, work_dir) == 25  # five of each: the same number of every photo
    crops = []
    for cfg in configs:
        dataset = dict(cfg.val_dataloader.dataset)
        assert dataset.pop('type') is ImageFolder
        folder = ImageFolder(**dataset)
        assert [folder.label(i) for i in range(10)] == [0, 1, 2, 3, 4] * 2
        crops.append([np.asarray(folder[i]['image']) for i in range(10)])
        assert cfg.train_dataloader.dataset.root.endswith('train')
    assert crops[0][0].shape == (3, 64, 64)
    assert all(np.array_equal(a, b) for a, b in zip(*crops, strict=True))
    assert not np.array_equal(crops[0][0], crops[0][5])  # another crop of the same photo
    with pytest.raises(UserError, match='must hold the folders train/ and val/'):
        use_photos(configs, str(photos / 'train'), 1, work_dir)


# --- the list of crops ---


def test_the_list_stays_once_a_run_was_scored_on_it(photos: Path, work_dir: Path) -> None:
    used(photos, 21, work_dir)
    cfg, count = used(photos, 30, work_dir)
    assert count == 30  # no run yet: a longer list may take its place
    leave_run(work_dir)
    text = (work_dir / 'evaluation_crops.txt').read_text()
    again, count = used(photos, 9, work_dir)
    assert count == 30  # fewer would do, and more are kept
    assert fingerprint(again) == fingerprint(cfg)
    with pytest.raises(UserError, match=r'has 30 crops, and the rows of this call need 31.*choose another --work-dir'):
        used(photos, 31, work_dir)
    (photos / 'val/a/10.png').rename(photos / 'val/a/99.png')
    with pytest.raises(UserError, match='lists other photos than are there now'):
        used(photos, 9, work_dir)
    assert (work_dir / 'evaluation_crops.txt').read_text() == text


def test_training_photos_stay_on_the_device_if_they_fit_which_does_not_make_another_run(
    photos: Path, work_dir: Path
) -> None:
    cfg, _ = used(photos, 9, work_dir)
    loader = build_loader(cfg.train_dataloader, 0, train=True)
    assert cfg.train_dataloader['on_device'] == 'auto'
    assert loader.dataset.kept is not None
    read = copy.deepcopy(cfg)
    del read.train_dataloader['on_device']
    assert fingerprint(read) == fingerprint(cfg)
    other = build_loader(read.train_dataloader, 0, train=True)
    assert other.dataset.kept is None
    assert torch.equal(next(iter(loader))['images'], next(iter(other))['images'])


@pytest.mark.parametrize('split', ['train', 'val'])
def test_another_photo_of_the_same_name_makes_another_run(photos: Path, work_dir: Path, split: str) -> None:
    before, _ = used(photos, 9, work_dir)
    save(picture(91, 80, 77), photos / split / 'a' / ('0.png' if split == 'train' else '10.png'))
    after, _ = used(photos, 9, work_dir)
    assert fingerprint(after) != fingerprint(before)


def test_report_only_writes_no_list(photos: Path, work_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = [VQ, '--data', str(photos), '--work-dir', str(work_dir), '--report-only']
    assert main(call) == 2
    assert 'is not there: no run of this folder was scored on crops of --data' in capsys.readouterr().err
    assert not work_dir.exists()
    _, count = used(photos, 9, work_dir)
    text = (work_dir / 'evaluation_crops.txt').read_text()
    assert used(photos, 9, work_dir, write=False)[1] == count
    save(picture(90, 80, 50), photos / 'val/a/50.png')
    with pytest.raises(UserError, match='lists other photos'):
        used(photos, 9, work_dir, write=False)
    assert (work_dir / 'evaluation_crops.txt').read_text() == text


def test_rows_scored_on_different_crops_get_a_note_and_no_difference(tmp_path: Path) -> None:
    runs = []
    for name, count in (('vq', 42), ('linear', 162)):
        runs.append(BenchmarkRun(name, 1.0, 0, tmp_path / name, '', load_config(VQ)))
        runs[-1].folder.mkdir()
        np.savez(runs[-1].folder / 'per_image.npz', psnr=np.ones(count), labels=np.arange(count) % 6)
    vq, linear = (Row(name, '', None, bits_per_image=10.0) for name in ('vq', 'linear'))
    assert compare(linear, runs[1:], vq, runs[:1]) == (None, 'other crops')
    assert compare(vq, runs[:1], vq, runs[:1])[0] is not None


# --- photos of both folders ---


def test_one_folder_for_training_and_evaluation_is_refused(photos: Path, work_dir: Path) -> None:
    shutil.rmtree(photos / 'val')
    (photos / 'val').symlink_to(photos / 'train')
    with pytest.raises(UserError, match=r'training and evaluation photos are both in .*train; give each'):
        used(photos, 9, work_dir)
    assert not work_dir.exists()


def test_a_photo_in_both_folders_is_refused_by_its_bytes_and_named(photos: Path, work_dir: Path) -> None:
    for seed in range(3):
        shutil.copy(photos / f'train/a/{seed}.png', photos / f'val/a/copy_{seed}.png')
    named = 'val/a/copy_0.png is train/a/0.png, val/a/copy_1.png is train/a/1.png, val/a/copy_2.png is train/a/2.png;'
    with pytest.raises(UserError, match=f'must not be trained on, but {named}'):
        used(photos, 9, work_dir)
    assert not work_dir.exists()
