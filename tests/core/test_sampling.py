"""Samples on the disk: the same images in any batch and on any rank, kept through a kill and a full disk, one npz."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.sampling import SampleOutputs, SamplePlan, SampleShards, draw_samples, parse_classes, write_npz


class Painter:
    """Draws noise from each seed around a grey that is the class."""

    def __init__(self, dies_after: int | None = None) -> None:
        self.drawn: list[int] = []
        self.dies_after = dies_after

    def sample(self, classes: list[int], *, seeds: list[int], strength: float = 0.1) -> Tensor:
        if self.dies_after is not None and len(self.drawn) >= self.dies_after:
            raise KeyboardInterrupt
        self.drawn += seeds
        noise = [torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return torch.stack(noise) * strength + torch.tensor(classes).view(-1, 1, 1, 1) / 10


def plan(count: int = 20, **changes: Any) -> SamplePlan:
    settings = dict(count=count, classes=(3, 7, 5), draw_classes=False, seed=4, settings={'strength': 0.1})
    return SamplePlan(**{**settings, 'shard_images': 6, **changes})


def images(root: Path, of: SamplePlan) -> np.ndarray:
    return np.concatenate(list(SampleShards(root, of).read()))


def test_neither_batches_nor_ranks_nor_a_kill_change_an_image(tmp_path: Path) -> None:
    draw_samples(Painter(), SampleShards(tmp_path / 'a', plan()), {}, batch_size=20)
    expected = images(tmp_path / 'a', plan())
    assert expected.shape == (20, 4, 5, 3)
    assert expected.dtype == np.uint8
    for rank in (1, 0):
        draw_samples(Painter(), SampleShards(tmp_path / 'b', plan()), {}, batch_size=4, rank=rank, world_size=2)
    assert np.array_equal(images(tmp_path / 'b', plan()), expected)
    with pytest.raises(KeyboardInterrupt):
        draw_samples(Painter(dies_after=9), SampleShards(tmp_path / 'c', plan()), {}, batch_size=3)
    painter = Painter()
    draw_samples(painter, SampleShards(tmp_path / 'c', plan()), {}, batch_size=3)
    assert len(painter.drawn) == 14  # the first file was whole
    assert np.array_equal(images(tmp_path / 'c', plan()), expected)


def test_a_longer_plan_begins_with_the_shorter_one(tmp_path: Path) -> None:
    draw_samples(Painter(), SampleShards(tmp_path, plan(8)), {}, batch_size=8)
    short, painter = images(tmp_path, plan(8)), Painter()
    draw_samples(painter, SampleShards(tmp_path, plan(20)), {}, batch_size=8)
    assert len(painter.drawn) == 14
    assert np.array_equal(images(tmp_path, plan(20))[:8], short)
    assert np.array_equal(images(tmp_path, plan(8)), short)


def test_classes_are_dealt_out_in_turn_or_drawn_evenly() -> None:
    assert [plan().label(i) for i in range(5)] == [3, 7, 5, 3, 7]
    drawn = plan(3000, draw_classes=True)
    counts = np.bincount([drawn.label(i) for i in range(3000)], minlength=8)[[3, 7, 5]]
    assert counts.sum() == 3000
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(1000 * 2 / 3)
    assert [drawn.label(i) for i in range(9)] == [plan(9, draw_classes=True).label(i) for i in range(9)]


def test_images_have_seeds_of_their_own() -> None:
    seeds = {plan(seed=seed).image_seed(i) for seed in (0, 1) for i in range(500)}
    assert len(seeds) == 1000
    assert max(seeds) < 2**62


def test_samples_of_another_plan_are_not_mixed_in(tmp_path: Path) -> None:
    SampleShards(tmp_path, plan())
    with pytest.raises(UserError, match=r'drawn in another way \(seed, settings differ\)'):
        SampleShards(tmp_path, plan(seed=5, settings={'strength': 0.2}))


@pytest.mark.parametrize('changes', [dict(count=0), dict(classes=()), dict(seed=-1)])
def test_a_plan_without_meaning_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match='needs one or more images, one or more classes and a seed from 0'):
        plan(**changes)


def test_an_npz_is_what_numpy_would_write(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 4, 5, 3), dtype=np.uint8)
    write_npz(tmp_path / 'a.npz', [pixels[:3], pixels[3:]], pixels.shape, np.arange(7))
    np.savez(tmp_path / 'b.npz', pixels, np.arange(7))
    with np.load(tmp_path / 'a.npz') as ours, np.load(tmp_path / 'b.npz') as theirs:
        assert ours.files == theirs.files
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours.files)
    assert [path.name for path in tmp_path.glob('.*')] == []


def test_an_npz_of_too_few_images_is_not_written(tmp_path: Path) -> None:
    block = np.zeros((2, 4, 5, 3), dtype=np.uint8)
    with pytest.raises(UserError, match='expected 3 images, got 2; draw the missing ones'):
        write_npz(tmp_path / 'a.npz', [block], (3, 4, 5, 3), np.zeros(3))
    with pytest.raises(UserError, match='expected uint8 images'):
        write_npz(tmp_path / 'a.npz', [block.astype(np.float32)], (2, 4, 5, 3), np.zeros(2))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_costs_the_file_that_did_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards, fsync, calls = SampleShards(tmp_path / 'out', plan()), os.fsync, []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(UserError, match=r'No space left on device.*drawn before are kept: make room'):
        draw_samples(Painter(), shards, {}, batch_size=6)
    with pytest.raises(UserError, match='samples themselves are kept'):
        write_npz(tmp_path / 'a.npz', [np.zeros((1, 4, 5, 3), dtype=np.uint8)], (1, 4, 5, 3), np.zeros(1))
    assert shards.missing() == [2, 3]
    assert not list(tmp_path.rglob('.*.partial'))
    assert not (tmp_path / 'a.npz').exists()


def test_outputs_hold_every_sample_with_its_class(tmp_path: Path) -> None:
    shards = SampleShards(tmp_path / 'shards', plan())
    draw_samples(Painter(), shards, {}, batch_size=6)
    lines = list(SampleOutputs(tmp_path, shards).write(npz=True, images=True))
    assert lines[0].endswith('rows are classes 3, 5, 7')
    expected = images(tmp_path / 'shards', plan())
    with np.load(tmp_path / 'samples.npz') as file:
        assert np.array_equal(file['arr_0'], expected)
        assert file['arr_1'].tolist() == [plan().label(i) for i in range(20)]
    names = sorted(path.name for path in (tmp_path / 'images').iterdir())
    assert names[:3] == ['000000_3.png', '000001_7.png', '000002_5.png']
    assert len(names) == 20
    assert np.array_equal(np.asarray(Image.open(tmp_path / 'images' / names[4])), expected[4])
    grid, side = np.asarray(Image.open(tmp_path / 'grid.png')), 128 // 5
    row = 4 * side + 4  # a class below the next: 3 (images 0, 3, ...), 5 (2, 5, ...), 7 (1, 4, ...)
    assert np.array_equal(grid[row : row + 4 * side : side, 5 * side + 4 : 10 * side + 4 : side], expected[5])


def test_classes_of_a_command_line() -> None:
    assert parse_classes(['all'], 3) == ((0, 1, 2), False)
    assert parse_classes(['random'], 3) == ((0, 1, 2), True)
    assert parse_classes(['2', '0', '2'], 3) == ((2, 0, 2), False)
    for given in (['3'], ['-1'], ['all', '1'], ['dog']):
        with pytest.raises(UserError, match='numbers from 0 to 2'):
            parse_classes(given, 3)
