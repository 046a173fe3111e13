"""Tuning that starves nobody: photos of its own, as many tries for every row, and tiles of which none counts twice."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fvq_core.config.data import plain_values
from fvq_core.errors import UserError
from fvq_eval.benchmark import run as run_module
from fvq_eval.benchmark.chosen_tries import keep_best, tuning_sentences
from fvq_eval.benchmark.photo_data import labels_are_photos, use_photos
from fvq_eval.benchmark.photo_tiles import PhotoTiles
from fvq_eval.benchmark.rows import Row, name_rows, read_rows
from fvq_eval.benchmark.tune_split import main, split, tune_names
from fvq_eval.commands.benchmark import main as benchmark_main

from ..pictures import picture, save
from .benchmark_runs import CONFIRMATORY, TOY, VQ, leave, leave_result

ROWS = [str(CONFIRMATORY / f'{name}.py') for name in ('vq', 'fvq', 'ema_restart', 'simvq')]


def test_tiles_cover_the_middle_of_every_photo_once(tmp_path: Path) -> None:
    for number in range(2):
        save(picture(40, 32, number), tmp_path / f'{number}.png')  # 40 wide, 32 high
    tiles = PhotoTiles(str(tmp_path), crop_size=8, side=32)
    assert len(tiles) == 2 * 16
    assert [tiles.label(number) for number in range(4)] == [0, 1, 0, 1]
    whole = np.asarray(Image.open(tmp_path / '1.png').convert('RGB')).transpose(2, 0, 1)[:, :, 4:36]
    for number in range(1, 32, 2):
        row, column = divmod(number // 2, 4)
        expected = whole[:, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        assert np.array_equal(tiles[number]['image'], expected)
    shrunk = PhotoTiles(str(tmp_path), crop_size=8, side=16)
    assert len(shrunk) == 2 * 4
    assert shrunk[0]['image'].shape == (3, 8, 8)


def test_tiles_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    save(picture(40, 32, 0), tmp_path / '0.png')
    with pytest.raises(UserError, match='side must be a multiple of crop_size, got 20 and 8'):
        PhotoTiles(str(tmp_path), crop_size=8, side=20)
    assert 'its short side must have 64' in (PhotoTiles(str(tmp_path), crop_size=8, side=64)[0]['error'] or '')


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Seven photos in train/, two in val/."""
    for folder, seeds in (('train', range(7)), ('val', range(10, 12))):
        for seed in seeds:
            save(picture(90, 80, seed), tmp_path / 'photos' / folder / 'a' / f'{seed}.png')
    return tmp_path / 'photos'


def test_photos_for_tuning_are_those_of_the_smallest_hash(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f'a/{seed}.png' for seed in range(7)]
    expected = sorted(names, key=lambda name: hashlib.sha256(name[2:].encode()).hexdigest())[:3]
    assert tune_names(names[::-1], 3) == expected
    assert main([str(photos), '3']) == 0
    assert '3 photos in' in capsys.readouterr().out
    assert sorted(path.name for path in (photos / 'tune/a').iterdir()) == sorted(name[2:] for name in expected)
    assert len(list((photos / 'train/a').iterdir())) == 4
    assert split(photos, 3) == expected  # again: nothing moves
    assert len(split(photos, 4)) == 4
    assert main([str(photos), '3']) == 2
    assert 'move them back first' in capsys.readouterr().err
    assert main([str(photos), '7']) == 2
    assert 'expected 1 to 6 photos of 7' in capsys.readouterr().err


def test_rows_are_scored_on_tiles_of_the_folder_that_is_asked_for(photos: Path, tmp_path: Path) -> None:
    split(photos, 3)
    configs = [row.cfg for row in toy_rows() if row.cfg is not None]
    crops = [use_photos(configs, str(photos), 1, tmp_path / 'out', scored_on=on) for on in (['tune'], ['val'])]
    assert crops == [3 * 16, 2 * 16]
    dataset = configs[0].val_dataloader.dataset
    assert dataset.root.endswith('val')
    assert labels_are_photos(dataset)
    assert configs[0].train_dataloader.dataset.transforms[0].max_fraction == 0.25  # its own crops
    other = read_rows([VQ], {})[0].cfg
    assert other is not None
    with pytest.raises(UserError, match='some rows are scored on tiles'):
        use_photos([configs[0], other], str(photos), 1, tmp_path / 'out')


def toy_rows(lengths: list[int | None] | None = None) -> list[Row]:
    return read_rows(ROWS, TOY, lengths=lengths or [None])


def leave_tries(folder: Path, row: Row, scores: dict[float, float]) -> None:
    """Finished tries of a cell, a PSNR for each factor."""
    assert row.cfg is not None
    plan = json.dumps(plain_values(row.cfg.to_dict()))
    for factor, psnr in scores.items():
        run = run_module.run_folder(folder, row.key, factor, 0)
        leave_result(run, psnr)
        (run / 'plan.json').write_text(plan)


def test_every_row_has_as_many_tries_and_the_best_of_each_is_kept_at_every_length(tmp_path: Path) -> None:
    cells = toy_rows()
    assert [sum(row.source == source for row in cells) for source in ROWS] == [8] * 4
    assert not any(row.refusal for row in cells)
    with pytest.raises(UserError, match='has no result of vq_uniform_codes_1; finish the tuning'):
        keep_best(cells, tmp_path)
    for row in cells:
        best = ('kmeans' in row.key or 'normal_d' in row.key) and row.key.endswith('codes_10')
        leave_tries(tmp_path, row, {1.0: 19.0 + best, 3.0: 20.0 + best, 10.0: 19.0 + best})
    failed = {'status': 'failed', 'reason': 'diverged', 'seconds': 120.0}
    leave(run_module.run_folder(tmp_path, cells[0].key, 10.0, 0), failed)
    rows, chosen = keep_best(toy_rows([4, 8]), tmp_path)
    name_rows(rows)
    assert [row.name for row in rows] == [
        f'steps{length}/{name}' for length in (4, 8) for name in ('vq', 'fvq', 'ema_restart', 'simvq')
    ]
    assert {name: (each.cell, each.factor, each.tries, each.edge) for name, each in chosen.items()} == {
        'vq': ('vq_kmeans_codes_10', 3.0, 24, False),
        'fvq': ('fvq_normal_d_codes_10', 3.0, 24, False),
        'ema_restart': ('ema_restart_kmeans_codes_10', 3.0, 24, False),
        'simvq': ('simvq_normal_d_codes_10', 3.0, 24, False),
    }
    assert rows[2].cfg is not None
    assert rows[2].cfg.model.tokenizer.quantizer['update']['decay'] == 0.9
    sentence = tuning_sentences(chosen, tmp_path)[0]
    assert (
        'among 24 tries a row, of 1,600 steps each, with learning rates x 1, 3, 10: vq: vq_kmeans_codes_10 x 3'
        in sentence
    )
    assert 'That took 2 minutes of training, failed tries included.' in sentence
    assert len(tuning_sentences(chosen, tmp_path)) == 1


def test_tries_that_are_not_alike_or_not_finished_are_refused_and_the_edge_is_told(tmp_path: Path) -> None:
    cells = read_rows(ROWS[:2], TOY)
    for row in cells:
        leave_tries(tmp_path, row, {1.0: 1.0, 3.0: 3.0})
    _, chosen = keep_best(cells, tmp_path)
    assert 'At the edge of the rates tried' in tuning_sentences(chosen, tmp_path)[1]
    another = run_module.run_folder(tmp_path, cells[0].key, 10.0, 0)
    another.mkdir(parents=True)  # a second pass has begun
    with pytest.raises(UserError, match=f'has no result of {cells[0].key.split("/")[1]} x 10; finish the tuning'):
        keep_best(cells, tmp_path)
    leave_tries(tmp_path, cells[0], {10.0: 1.0})
    with pytest.raises(UserError, match=r'tries had different factors \(vq_uniform_codes_1: 1, 3, 10; vq_\w+: 1, 3;'):
        keep_best(cells, tmp_path)
    shutil.rmtree(run_module.run_folder(tmp_path, cells[0].key, 3.0, 0))  # as many as the others, but not the same
    with pytest.raises(UserError, match=r'tries had different factors \(vq_uniform_codes_1: 1, 10; vq_\w+: 1, 3;'):
        keep_best(cells, tmp_path)


def test_tries_of_another_model_or_of_several_lengths_are_refused(tmp_path: Path) -> None:
    cells = read_rows(ROWS[:1], TOY)
    for row in cells:
        leave_tries(tmp_path, row, {1.0: 1.0})
    larger = read_rows(ROWS[:1], {**TOY, 'model.tokenizer.quantizer.codebook_size': 128})
    with pytest.raises(UserError, match='tuned another model as vq_uniform_codes_1'):
        keep_best(larger, tmp_path)
    assert cells[0].cfg is not None
    cells[0].cfg.train_cfg['max_iters'] = 400
    leave_tries(tmp_path, cells[0], {1.0: 1.0})
    with pytest.raises(UserError, match=r'tries had different steps \(vq_uniform_codes_1 x 1: 400; '):
        keep_best(cells, tmp_path)


def test_the_choice_of_a_tuning_reaches_the_runs_of_a_call(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tuning, out = tmp_path / 'tuning', tmp_path / 'out'
    cells = read_rows(ROWS[:1], TOY)
    split(photos, 3)
    use_photos([row.cfg for row in cells if row.cfg is not None], str(photos), 1, tuning, scored_on=['tune'])
    for row in cells:
        leave_tries(tuning, row, {factor: 20.0 + ('latents' in row.key) + factor for factor in (1.0, 3.0)})
    options = [f'{key}={value}' for key, value in (TOY | {'val_dataloader.dataset.crop_size': 16}).items()]
    call = [ROWS[0], '--data', str(photos), '--best-of', str(tuning), '--lengths', '4', '8', '--seeds', '1', '2']
    call += ['--perceptual', 'none', '--work-dir', str(out), '--report-only', '--cfg-options', *options]
    assert benchmark_main(call) == 0
    text = (out / 'report.md').read_text()
    assert 'vq: vq_latents_codes_1 x 3' in text
    assert 'among 16 tries a row' in text
    assert '| steps4/vq | 3 | 1 | - | - | - | not trained yet |' in text
    assert (
        benchmark_main([*call[: call.index('--cfg-options')], '--lr-factors', '1', '3', '--cfg-options', *options]) == 2
    )
    assert 'exclude each other' in capsys.readouterr().err
    assert benchmark_main([*call[: call.index('--cfg-options')], '--tune', '--cfg-options', *options]) == 2
    assert 'was scored on the photos that this call is scored on' in capsys.readouterr().err
