"""Samples on the disk: the same images in any batch and on any rank, kept through a kill and a full disk, one npz."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from fvq_core.codes import CodeLayout, Codes, Grid
from fvq_core.errors import UserError
from fvq_core.files.atomic import staged
from fvq_core.generator import Generator
from fvq_generators.image_sets import (
    SampleOutputs,
    SamplePlan,
    SampleShards,
    check_request,
    draw_samples,
    parse_classes,
    write_npz,
)
from fvq_generators.image_sets.sample_grid import choose_samples

from ..ranks import TwoRanks


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


def drawn_to(root: Path, of: SamplePlan, painter: Painter | None = None, batch_size: int = 6) -> SampleShards:
    """What one process does."""
    shards = SampleShards(root, of)
    try:
        draw_samples(painter or Painter(), shards, shards.open(), {}, batch_size)
    finally:
        shards.close()
    return shards


def images(root: Path, of: SamplePlan) -> np.ndarray:
    return np.concatenate(list(SampleShards(root, of).read()))


def test_neither_batches_nor_ranks_nor_a_kill_change_an_image(tmp_path: Path) -> None:
    drawn_to(tmp_path / 'a', plan(), batch_size=20)
    expected = images(tmp_path / 'a', plan())
    assert expected.shape == (20, 4, 5, 3)
    assert expected.dtype == np.uint8
    first, second = (SampleShards(tmp_path / 'b', plan()) for _ in range(2))
    opened = first.open()
    for rank, shards in ((1, second), (0, first)):
        draw_samples(Painter(), shards, opened[rank::2], {}, batch_size=4)
    first.wait(opened)
    assert np.array_equal(images(tmp_path / 'b', plan()), expected)
    with pytest.raises(KeyboardInterrupt):
        drawn_to(tmp_path / 'c', plan(), Painter(dies_after=9), batch_size=3)
    painter = Painter()
    drawn_to(tmp_path / 'c', plan(), painter, batch_size=3)
    assert len(painter.drawn) == 14  # the first file was whole
    assert np.array_equal(images(tmp_path / 'c', plan()), expected)


def test_a_longer_plan_begins_with_the_shorter_one(tmp_path: Path) -> None:
    drawn_to(tmp_path, plan(8))
    short, painter = images(tmp_path, plan(8)), Painter()
    drawn_to(tmp_path, plan(20), painter)
    assert len(painter.drawn) == 14
    assert np.array_equal(images(tmp_path, plan(20))[:8], short)
    assert np.array_equal(images(tmp_path, plan(8)), short)


@pytest.mark.parametrize('count', [1, 16, 200, 300, 5000, 50_000])
def test_files_are_small_where_images_are_few_and_hold_every_image_once(count: int) -> None:
    of = plan(count, shard_images=64)
    files = [of.shard(number) for number in range(of.shards)]
    assert [image for file in files for image in file] == list(range(count))
    assert max(map(len, files)) <= 64
    assert of.shards >= min(count / 20, 50), 'work for several processes'
    assert of.shards <= count / 64 + 25, 'and not a file for every image'
    for image in (0, count // 2, count - 1):
        shard, row = of.row(image)
        assert files[shard][row] == image


def test_the_size_of_files_changes_no_image_and_is_that_of_the_folder(tmp_path: Path) -> None:
    drawn_to(tmp_path / 'a', plan(8, shard_images=3))
    shards = drawn_to(tmp_path / 'a', plan(20, shard_images=64))
    assert shards.plan.shard_images == 3
    assert np.array_equal(images(tmp_path / 'a', shards.plan), images(drawn_to(tmp_path / 'b', plan()).root, plan()))


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
    drawn_to(tmp_path, plan())
    with pytest.raises(
        UserError, match=r'\(seed is 4 there, 5 now, strength is 0.1 there, 0.2 now\); name another folder'
    ):
        drawn_to(tmp_path, plan(seed=5, settings={'strength': 0.2}))
    (tmp_path / 'samples.json').write_text('[]')
    with pytest.raises(UserError, match=r'no readable samples\.json'):
        drawn_to(tmp_path, plan())


def test_a_plan_that_nothing_was_drawn_to_gives_way_to_another(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        drawn_to(tmp_path, plan(seed=5), Painter(dies_after=0))
    assert json.loads((tmp_path / 'samples.json').read_text())['seed'] == 5
    drawn_to(tmp_path, plan(seed=4))
    assert json.loads((tmp_path / 'samples.json').read_text())['seed'] == 4


def test_samples_that_nobody_knows_the_plan_of_are_not_adopted(tmp_path: Path) -> None:
    drawn_to(tmp_path, plan())
    (tmp_path / 'samples.json').unlink()
    with pytest.raises(UserError, match=r'holds shard-00000.npy but no readable samples.json.*; name another folder'):
        drawn_to(tmp_path, plan())
    assert not (tmp_path / 'samples.json').exists()


def test_a_shard_that_cannot_be_read_is_drawn_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = images(drawn_to(tmp_path, plan()).root, plan())
    os.truncate(tmp_path / 'shard-00000.npy', 200)
    (tmp_path / 'shard-00001.npy').write_bytes(b'')
    np.save(tmp_path / 'shard-00002.npy', np.zeros((6, 4, 5, 3), dtype=np.float32))
    with pytest.raises(UserError, match=r'shard-00001.npy cannot be used .*; run the same command again'):
        SampleShards(tmp_path, plan()).images([7])
    painter = Painter()
    drawn_to(tmp_path, plan(), painter)
    assert len(painter.drawn) == 18
    assert np.array_equal(images(tmp_path, plan()), expected)
    lines = capsys.readouterr().out.splitlines()
    assert [f'shard-0000{n}.npy' in line and 'sampling its images again' in line for n, line in enumerate(lines)] == [
        True
    ] * 3


def test_two_calls_never_draw_into_one_folder(tmp_path: Path) -> None:
    first, second = (SampleShards(tmp_path, plan()) for _ in range(2))
    first.open()
    with pytest.raises(UserError, match='another call draws samples into'):
        second.open()
    first.close()
    (tmp_path / '.shard-00000.npy.0123abcd.partial').write_bytes(b'of a killed process')
    second.open()
    second.close()
    assert [path.name for path in tmp_path.iterdir()] == ['samples.json']


def open_shards_on_rank(rank: int, folder: Path) -> list[Any]:
    """What one of two processes is told: the missing shards, and the error of other settings."""
    first, other = SampleShards(folder / 'shards', plan()), SampleShards(folder / 'shards', plan(seed=9))
    missing, own = first.open_together()
    assert own == missing[rank::2]
    told = [missing]
    draw_samples(Painter(), first, own, {}, batch_size=6)
    first.wait(missing)
    assert first.missing() == []
    first.close()
    try:
        other.open_together()
    except UserError as error:
        told.append(str(error))
    return told


def test_every_process_gets_what_the_first_finds_or_its_error(tmp_path: Path, two_ranks: TwoRanks) -> None:
    first, second = two_ranks.run(open_shards_on_rank, tmp_path)
    missing, error = first
    assert missing == [0, 1, 2, 3]
    assert 'drawn in another way (seed is' in error
    assert second == first


def test_two_writers_of_one_file_never_share_a_staging_file(tmp_path: Path) -> None:
    target = tmp_path / 'plan.json'
    with staged(target, '') as one, staged(target, '') as other:
        one.write_text('one')
        other.write_text('other')
        assert (one.read_text(), other.read_text()) == ('one', 'other')
    assert [path.name for path in tmp_path.iterdir()] == ['plan.json']
    with pytest.raises(UserError, match=r'plan.json could not be written .No such file'), staged(target, '') as one:
        one.with_suffix('').write_text('elsewhere')
    one.with_suffix('').unlink()
    assert target.read_text() == 'one'
    assert [path.name for path in tmp_path.iterdir()] == ['plan.json']


@pytest.mark.parametrize(
    ('changes', 'wrong'),
    [(dict(count=0), 'images must be 1'), (dict(classes=()), 'classes must be 1'), (dict(seed=-1), 'seed must be 0')],
)
def test_a_plan_without_meaning_is_refused(changes: dict[str, Any], wrong: str) -> None:
    with pytest.raises(UserError, match=wrong):
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
        draw_samples(Painter(), shards, shards.open(), {}, batch_size=6)
    with pytest.raises(UserError, match='samples themselves are kept'):
        write_npz(tmp_path / 'a.npz', [np.zeros((1, 4, 5, 3), dtype=np.uint8)], (1, 4, 5, 3), np.zeros(1))
    assert shards.missing() == [1, 2, 3]
    assert not list(tmp_path.rglob('.*.partial'))
    assert not (tmp_path / 'a.npz').exists()


def test_outputs_hold_every_sample_with_its_class(tmp_path: Path) -> None:
    shards = drawn_to(tmp_path / 'shards', plan())
    lines = list(SampleOutputs(tmp_path, shards).write(npz=True, images=True))
    told = ['20 images; score it with tools/evaluate.py', 'rows are classes 3, 5, 7', '20 images']
    assert [line.split(': ')[1] for line in lines] == told
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


def test_the_folder_of_images_holds_the_plan_and_nothing_else(tmp_path: Path) -> None:
    shards, folder = drawn_to(tmp_path / 'shards', plan(6)), tmp_path / 'images'
    list(SampleOutputs(tmp_path, shards).write(images=True))
    (folder / '.000001_7.png.0123abcd.partial').write_bytes(b'of a killed process')
    fewer = SampleOutputs(tmp_path, drawn_to(tmp_path / 'shards', plan(3)))
    assert f'{folder}: 3 images' in list(fewer.write(images=True))
    assert sorted(path.name for path in folder.iterdir()) == ['000000_3.png', '000001_7.png', '000002_5.png']
    (folder / 'cat.png').write_bytes(b'mine')
    with pytest.raises(UserError, match=r'images holds other files \(cat.png\).*move them elsewhere'):
        list(fewer.write(images=True))
    assert (folder / 'cat.png').read_bytes() == b'mine'


@pytest.mark.skipif(sys.platform != 'linux', reason='limits the size of files')
@pytest.mark.parametrize(
    ('limit', 'written', 'lost'),
    [
        (10, [], ['samples.npz', '000000_3.png', 'grid.png']),
        (600, ['000000_3.png'], ['samples.npz', 'grid.png']),
    ],
)
def test_an_output_that_does_not_fit_leaves_no_half_and_does_not_cost_the_others(
    tmp_path: Path, limit: int, written: list[str], lost: list[str]
) -> None:
    """The kernel refuses to let a file grow: every way of writing meets a real failure."""
    import resource

    outputs = SampleOutputs(tmp_path, drawn_to(tmp_path / 'shards', plan()))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(UserError, match=r'samples.npz could not be written .File too large.*run the same') as told:
            list(outputs.write(npz=True, images=True))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [name for name in lost if f'{name} could not be written' in str(told.value)] == lost
    assert '\n' not in str(told.value)
    found = [path for path in tmp_path.rglob('*') if path.is_file() and path.parent.name != 'shards']
    assert {path.name for path in found} >= set(written)
    assert all(path.suffix == '.png' and np.asarray(Image.open(path)).shape == (4, 5, 3) for path in found)
    assert len(list(outputs.write(npz=True, images=True))) == 3


@pytest.mark.parametrize('full', ['samples.npz', 'grid.png', '000004_7.png'])
def test_a_disk_that_fills_up_at_one_output_leaves_the_others(
    full: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs, replace, lines = SampleOutputs(tmp_path, drawn_to(tmp_path / 'shards', plan())), os.replace, []

    def failing(source: Path, target: Path) -> None:
        if Path(target).name == full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    monkeypatch.setattr(os, 'replace', failing)
    with pytest.raises(UserError, match=f'{full} could not be written .No space left on device.*make room and run'):
        lines.extend(outputs.write(npz=True, images=True))
    assert len(lines) == 2
    assert not (tmp_path / full).exists()
    assert not (tmp_path / 'images' / full).exists()
    assert not list(tmp_path.rglob('.*.partial'))


def test_a_row_of_the_grid_is_a_class_with_several_samples_wherever_they_were_drawn() -> None:
    labels = np.arange(50_000) % 1000
    rows, of_classes = choose_samples(labels)
    assert of_classes
    assert [labels[row[0]] for row in rows] == list(range(0, 1000, 100))
    assert rows[3] == [300 + 1000 * k for k in range(8)]
    drawn = np.random.default_rng(0).integers(0, 1000, 3000)
    rows, of_classes = choose_samples(drawn)
    assert of_classes
    assert len(rows) == 10
    assert all(len(row) >= 3 and len(set(drawn[row])) == 1 for row in rows)
    assert choose_samples(np.array([3, 7, 3, 7, 3]))[0] == [[0, 2, 4], [1, 3]]


def test_with_a_sample_a_class_the_grid_is_filled_with_classes_in_order() -> None:
    rows, of_classes = choose_samples(np.arange(1000)[::-1])
    assert not of_classes
    assert [len(row) for row in rows] == [8] * 10
    shown = [999 - number for row in rows for number in row]
    assert shown == sorted(shown)
    assert max(shown) - min(shown) > 900
    assert choose_samples(np.array([5]))[0] == [[0]]


def test_a_request_that_cannot_be_drawn_is_refused_at_once() -> None:
    asked = []

    class Picky(Generator):
        def sample(self, cond: Tensor, *, cfg_scale: float = 1.0, **settings: Any) -> Codes:
            asked.append(len(cond))
            if cfg_scale < 1:
                raise UserError('cfg_scale must be 1 or more')
            return Codes(cond[:, None], CodeLayout(Grid(1, 1), 4))

    check_request(Picky(), dict(cfg_scale=2.0), 1)
    with pytest.raises(UserError, match='cfg_scale must be 1 or more'):
        check_request(Picky(), dict(cfg_scale=0.5), 1)
    assert asked == [0, 0], 'no image was drawn for it'
    for size in (0, -1):
        with pytest.raises(UserError, match=f'--batch-size takes 1 or more images, got {size}; the default is 32'):
            check_request(Picky(), {}, size)


def test_classes_of_a_command_line() -> None:
    assert parse_classes(['all'], 3) == ((0, 1, 2), False)
    assert parse_classes(['random'], 3) == ((0, 1, 2), True)
    assert parse_classes(['2', '0', '2'], 3) == ((2, 0, 2), False)
    for given in (['3'], ['-1'], ['all', '1'], ['dog'], ['²']):
        with pytest.raises(UserError, match='numbers from 0 to 2'):
            parse_classes(given, 3)
