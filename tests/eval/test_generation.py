"""Scoring image sets: the same digits from any form, batch, rank and restart; bad input by name; no stale statistics."""

from __future__ import annotations

import json
import logging
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fvq_core.errors import UserError
from fvq_core.metric import MetricValue
from fvq_eval.features import RandomFeatures
from fvq_eval.generation import ImageSetEvaluator, ScoredImages
from fvq_eval.generation.interrupts import interrupt_later
from fvq_eval.generation.statistics_checkpoint import StatisticsCheckpoint
from fvq_eval.samples import BLOCK, open_samples
from fvq_eval.statistics import FeatureConventions, ImageSetStatistics, compare

from ..ranks import TwoRanks
from .image_set_ranks import RANDOM, error_on_rank, scores, scores_on_rank
from .image_sets import random_pixels, save_folder, save_npz, save_tar

COUNT = 2 * BLOCK + 7


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


@pytest.fixture
def made(tmp_path: Path) -> str:
    return save_npz(random_pixels(COUNT, seed=1), tmp_path / 'made.npz')


@pytest.fixture
def real(tmp_path: Path) -> str:
    return save_npz(random_pixels(COUNT + 20, seed=2, level=200), tmp_path / 'real.npz')


def evaluator(**arguments: Any) -> ImageSetEvaluator:
    """Without a cache unless one is asked for."""
    return ImageSetEvaluator(**{'preset': 'strict', 'extractor': RANDOM, 'cache': None, **arguments})


def values(scored: ScoredImages) -> dict[str, float]:
    return {name: metric.value for name, metric in scored.metrics.items()}


def printed(scored: ScoredImages) -> dict[str, str]:
    return {name: str(metric) for name, metric in scored.metrics.items()}


def features(pixels: np.ndarray) -> ImageSetStatistics:
    """Statistics without any of what is tested here."""
    statistics = ImageSetStatistics(RandomFeatures(**{key: value for key, value in RANDOM.items() if key != 'type'}))
    if len(pixels):
        statistics.update(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), torch.arange(len(pixels)))
    return statistics


# --- the same digits ---


def test_the_numbers_are_those_of_the_two_sets_statistics(made: str, real: str) -> None:
    expected = compare(
        features(random_pixels(COUNT + 20, seed=2, level=200)),
        features(random_pixels(COUNT, seed=1)),
        FeatureConventions(),
        'strict',
    )
    got = values(evaluator().evaluate(made, real))
    assert set(got) == set(expected)
    assert got == pytest.approx({name: metric.value for name, metric in expected.items()}, rel=1e-9)


def test_folder_npz_and_tar_give_the_same_digits(tmp_path: Path, real: str) -> None:
    pixels = random_pixels(COUNT, seed=1)
    paths = [
        save_folder(pixels, tmp_path / 'folder'),
        save_npz(pixels, tmp_path / 'plain.npz'),
        save_npz(pixels, tmp_path / 'packed.npz', compressed=True),
        save_tar(pixels, tmp_path / 'images.tar', tmp_path / 'files'),
    ]
    first, *others = [values(evaluator().evaluate(path, real)) for path in paths]
    assert {'fd_random', 'kd_random', 'is_random', 'precision_random', 'coverage_random'} <= set(first)
    assert all(other == first for other in others)


def test_batch_size_and_workers_change_no_digit(tmp_path: Path, real: str) -> None:
    path = save_folder(random_pixels(COUNT, seed=1), tmp_path / 'folder')
    first = evaluator().evaluate(path, real)
    for arguments in (dict(batch_size=1), dict(batch_size=50, workers=1), dict(batch_size=1000, workers=7)):
        other = evaluator(**arguments).evaluate(path, real)
        assert printed(other) == printed(first)
        assert values(other) == pytest.approx(values(first), rel=1e-10)


def test_two_ranks_give_the_digits_of_one_even_if_one_of_them_has_nothing_to_do(
    two_ranks: TwoRanks, tmp_path: Path, made: str, real: str
) -> None:
    few = save_npz(random_pixels(20, seed=4), tmp_path / 'few.npz')  # one block, so that the second rank has none
    for pair in ((made, real), (few, real)):
        found, nothing = two_ranks.run(scores_on_rank, *pair)
        assert nothing == {}  # the main process has the numbers
        alone = scores(*pair)
        assert set(found) == set(alone)
        assert found == pytest.approx(alone, rel=1e-10)


# --- interruptions ---


class InterruptedRunError(RuntimeError):
    """A kill, as far as a test can be killed."""


def interrupt(monkeypatch: pytest.MonkeyPatch, after: int) -> list[int]:
    """Die when the network has seen so many images; returns what is counted."""
    seen = [0]
    update = ImageSetStatistics.update

    def dying(self: ImageSetStatistics, pixels: torch.Tensor, numbers: torch.Tensor) -> None:
        if seen[0] >= after:
            raise InterruptedRunError
        seen[0] += len(pixels)
        update(self, pixels, numbers)

    monkeypatch.setattr(ImageSetStatistics, 'update', dying)
    return seen


def test_a_resumed_evaluation_equals_a_straight_one_to_the_last_bit(
    made: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    straight = values(evaluator(metrics=['inception_score', 'fid']).evaluate(made, made))
    arguments = dict(metrics=['inception_score', 'fid'], cache=str(tmp_path / 'kept'), save_every=0)
    with monkeypatch.context() as patch:
        interrupt(patch, after=2 * BLOCK)
        with pytest.raises(InterruptedRunError):
            evaluator(**arguments).evaluate(made, made)
    with monkeypatch.context() as patch:
        seen = interrupt(patch, after=10**9)
        resumed = values(evaluator(**arguments).evaluate(made, made))
    assert seen[0] == COUNT - 2 * BLOCK
    assert resumed == straight
    assert f'features of {2 * BLOCK} images from an earlier, unfinished run' in capsys.readouterr().out
    assert not list((tmp_path / 'kept/unfinished').iterdir())


def test_a_broken_file_at_the_end_costs_nothing_that_was_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = random_pixels(COUNT, seed=1)
    folder = Path(save_folder(pixels, tmp_path / 'folder'))
    last = sorted(folder.iterdir())[-1]
    whole = last.read_bytes()
    last.write_bytes(whole[: len(whole) * 3 // 4])
    arguments = dict(metrics=['inception_score'], cache=str(tmp_path / 'kept'))
    with pytest.raises(UserError, match=r'000134\.png: expected a whole image file'):
        evaluator(**arguments).evaluate(str(folder))
    last.write_bytes(whole)
    seen = interrupt(monkeypatch, after=10**9)
    mended = values(evaluator(**arguments).evaluate(str(folder)))
    assert seen[0] == COUNT - 2 * BLOCK
    monkeypatch.undo()
    assert mended == values(evaluator(metrics=['inception_score']).evaluate(str(folder)))


def test_unfinished_statistics_of_other_images_are_not_taken_up(tmp_path: Path) -> None:
    statistics = features(random_pixels(5))
    progress = StatisticsCheckpoint(tmp_path, ['set'])
    progress.save(statistics, ['one', 'two'])
    empty = ImageSetStatistics(RandomFeatures(**{key: value for key, value in RANDOM.items() if key != 'type'}))
    assert StatisticsCheckpoint(tmp_path, ['set']).restore(empty, ['one', 'TWO', 'three']) == 0
    assert StatisticsCheckpoint(tmp_path, ['other']).restore(empty, ['one', 'two', 'three']) == 0
    assert StatisticsCheckpoint(tmp_path, ['set']).restore(empty, ['one', 'two', 'three']) == 2
    assert torch.equal(empty.moments['pool'].covariance, statistics.moments['pool'].covariance)
    progress.delete()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('index', ['[]', '{}', '3', '{"digests": 3, "state": "x"}', '{"digests": ["one"], "state": 3}'])
def test_a_damaged_index_counts_as_none_with_a_line(
    index: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger('fvq'), 'propagate', True)
    progress = StatisticsCheckpoint(tmp_path, ['set'])
    progress.save(features(random_pixels(5)), ['one'])
    progress.index.write_text(index)
    assert StatisticsCheckpoint(tmp_path, ['set']).restore(features(random_pixels(0)), ['one', 'two']) == 0
    assert 'is damaged' in caplog.text
    progress.save(features(random_pixels(5)), ['one'])  # and is written over
    assert StatisticsCheckpoint(tmp_path, ['set']).restore(features(random_pixels(0)), ['one', 'two']) == 1


def test_a_state_of_other_features_counts_as_none_with_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger('fvq'), 'propagate', True)
    StatisticsCheckpoint(tmp_path, ['set']).save(features(random_pixels(5)), ['one'])
    for other in (ImageSetStatistics(RandomFeatures(pool=32)), ImageSetStatistics(RandomFeatures(), ['spatial'])):
        assert StatisticsCheckpoint(tmp_path, ['set']).restore(other, ['one']) == 0
        assert other.count == 0
    assert caplog.text.count('is damaged') == 2


def test_two_runs_over_one_set_never_share_a_file_they_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    replace = os.replace
    monkeypatch.setattr(os, 'replace', lambda old, new: written.append(Path(old).name) or replace(old, new))
    one, two = StatisticsCheckpoint(tmp_path, ['set']), StatisticsCheckpoint(tmp_path, ['set'])
    for progress, digests in ((one, ['a']), (two, ['a']), (one, ['a', 'b'])):
        progress.save(features(random_pixels(5)), digests)
    assert len(set(written)) == len(written) == 6
    assert len(list(tmp_path.glob('*.npz'))) == 1  # what nobody will take up again is not left behind
    assert StatisticsCheckpoint(tmp_path, ['set']).restore(features(random_pixels(0)), ['a', 'b']) == 2


@pytest.fixture
def ctrl_c_interrupts():
    """A suite that a shell started in the background was told to ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures('ctrl_c_interrupts')
def test_ctrl_c_keeps_what_is_done(
    made: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = dict(metrics=['inception_score'], cache=str(tmp_path / 'kept'))  # the timer saves nothing in a second
    with monkeypatch.context() as patch:
        update = ImageSetStatistics.update

        def pressed(self: ImageSetStatistics, pixels: torch.Tensor, numbers: torch.Tensor) -> None:
            if self.count == BLOCK:
                signal.raise_signal(signal.SIGINT)
            update(self, pixels, numbers)

        patch.setattr(ImageSetStatistics, 'update', pressed)
        with pytest.raises(KeyboardInterrupt):
            evaluator(**arguments).evaluate(made)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert 'press Ctrl-C again to stop at once' in capsys.readouterr().err
    seen = interrupt(monkeypatch, after=10**9)
    resumed = values(evaluator(**arguments).evaluate(made))
    assert seen[0] == COUNT - 2 * BLOCK  # the block at hand was finished
    monkeypatch.undo()
    assert resumed == values(evaluator(metrics=['inception_score']).evaluate(made))


@pytest.mark.usefixtures('ctrl_c_interrupts')
def test_a_second_ctrl_c_stops_at_once() -> None:
    reached = []

    def press_twice() -> None:
        with interrupt_later() as interrupted:
            for _ in range(2):
                signal.raise_signal(signal.SIGINT)
                reached.append(interrupted())

    with pytest.raises(KeyboardInterrupt):
        press_twice()
    assert reached == [True]


def test_what_one_process_kept_is_not_that_of_one_under_torchrun(made: str, tmp_path: Path) -> None:
    extraction = evaluator(metrics=['fid'], cache=str(tmp_path)).extraction
    samples, alone = open_samples(made), ImageSetStatistics(extraction.extractor, extraction.kept)
    distributed = ImageSetStatistics(extraction.extractor, extraction.kept)
    distributed.rows = {name: [] for name in extraction.extractor.sizes}  # as where there is a process group
    one, other = (extraction.checkpoint(samples, each) for each in (alone, distributed))
    assert one is not None
    assert other is not None
    assert one.name != other.name


@pytest.mark.parametrize('when', ['header', 'pixels'])
def test_a_bad_file_of_one_rank_stops_both_with_its_name_and_keeps_what_is_done(
    two_ranks: TwoRanks, tmp_path: Path, when: str
) -> None:
    folder = Path(save_folder(random_pixels(2 * BLOCK + 7, seed=1), tmp_path / 'set'))
    second = sorted(folder.iterdir())[BLOCK + 3]  # the second rank's block
    whole = second.read_bytes()
    second.write_bytes(b'no image' if when == 'header' else whole[: len(whole) * 3 // 4])
    for error in two_ranks.run(error_on_rank, str(folder), str(tmp_path / 'kept')):
        assert f'{second.name}: expected a whole image file' in error
    kept = list((tmp_path / 'kept/unfinished').glob('*.json'))
    assert [len(json.loads(path.read_text())['digests']) for path in kept] == ([2] if when == 'pixels' else [])


# --- statistics of earlier runs ---


def test_kept_statistics_are_used_aloud_and_only_for_the_same_images_preset_and_extractor(
    made: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = dict(metrics=['inception_score'], cache=str(tmp_path / 'kept'))
    seen = interrupt(monkeypatch, after=10**9)

    def images_seen(path: str, **more: Any) -> int:
        before = seen[0]
        evaluator(**{**arguments, **more}).evaluate(path)
        return seen[0] - before

    assert images_seen(made) == COUNT
    assert 'are taken from' not in capsys.readouterr().out
    assert images_seen(made) == 0
    assert 'statistics of the same images' in capsys.readouterr().out
    copy = str(tmp_path / 'copy.npz')
    Path(copy).write_bytes(Path(made).read_bytes())
    assert images_seen(copy) == 0  # the content counts, not the path
    assert images_seen(made, extractor={**RANDOM, 'seed': 1}) == COUNT
    assert images_seen(made, preset='llamagen') == COUNT
    assert images_seen(made, metrics=['inception_score', 'precision']) == COUNT  # pooled features were not kept
    pixels = random_pixels(COUNT, seed=1)
    pixels[3, 3, 3, 0] ^= 1
    assert images_seen(save_npz(pixels, Path(made))) == COUNT


def test_saved_statistics_are_a_reference_like_the_images(made: str, real: str, tmp_path: Path) -> None:
    saved = str(tmp_path / 'real_statistics.npz')
    evaluator().evaluate(real, None, saved)
    assert values(evaluator().evaluate(made, saved)) == values(evaluator().evaluate(made, real))


def test_saved_statistics_of_another_preset_extractor_or_resolution_are_refused(
    made: str, real: str, tmp_path: Path
) -> None:
    saved = str(tmp_path / 'saved.npz')
    evaluator().evaluate(real, None, saved)
    with pytest.raises(UserError, match='expected statistics taken under'):
        evaluator(preset='llamagen').evaluate(made, saved)
    with pytest.raises(UserError, match='statistics of different features'):
        evaluator(extractor={**RANDOM, 'seed': 1}).evaluate(made, saved)
    with pytest.raises(UserError, match='a reference of 8x8 pixels like the samples, got 16x16'):
        evaluator().evaluate(save_npz(random_pixels(9, 8), tmp_path / 'small.npz'), saved)


# --- ADM's reference ---


class CalledInception(RandomFeatures):
    """Random features that pass for the network which files without a name are of."""

    def __init__(self) -> None:
        super().__init__(**{key: value for key, value in RANDOM.items() if key != 'type'})
        self.name = 'inception-2015'


def adm_reference(path: Path, whole: np.ndarray, listed: np.ndarray) -> str:
    """The layout of VIRTUAL_imagenet256_labeled.npz: moments of a whole set, and some images."""
    statistics = ImageSetStatistics(CalledInception())
    statistics.update(torch.from_numpy(whole).permute(0, 3, 1, 2).contiguous(), torch.arange(len(whole)))
    pool, spatial = (statistics.moments[name] for name in ('pool', 'spatial'))
    moments = dict(mu=pool.mean, sigma=pool.covariance, mu_s=spatial.mean, sigma_s=spatial.covariance)
    np.savez(path, arr_0=listed, **{name: tensor.numpy() for name, tensor in moments.items()})
    return str(path)


def test_adms_reference_gives_distances_of_its_moments_and_neighbours_among_its_images(
    made: str, tmp_path: Path
) -> None:
    whole = random_pixels(COUNT + 20, seed=2, level=200)
    listed = whole[::3]
    path = adm_reference(tmp_path / 'VIRTUAL.npz', whole, listed)
    everything, few = save_npz(whole, tmp_path / 'whole.npz'), save_npz(listed, tmp_path / 'few.npz')
    arguments = dict(preset='adm', extractor=CalledInception())
    got = evaluator(**arguments).evaluate(made, path).metrics
    of_whole, of_few = (evaluator(**arguments).evaluate(made, each).metrics for each in (everything, few))
    for name in ('fid', 'sfid'):
        assert got[name].value == pytest.approx(of_whole[name].value, rel=1e-9)
    for name in ('precision', 'recall'):
        assert got[name].value == of_few[name].value
    assert got['inception_score'].value == of_few['inception_score'].value
    assert f'neighbours among its {len(listed)} images' in got['precision'].stamp
    strict = evaluator(preset='strict', extractor=CalledInception()).evaluate(made, path)
    assert not [name for name in strict.metrics if name.startswith('kid')]  # the listed images are not the set
    assert any(note.startswith('kid: ') for note in strict.notes)


def test_adms_reference_is_only_of_the_inception_network(made: str, tmp_path: Path) -> None:
    path = adm_reference(tmp_path / 'VIRTUAL.npz', random_pixels(90, seed=2), random_pixels(9))
    with pytest.raises(UserError, match='statistics of different features'):
        evaluator(preset='adm').evaluate(made, path)


# --- stamps ---


def test_every_number_has_preset_count_reference_and_network(made: str, real: str) -> None:
    scored = evaluator(preset='adm').evaluate(made, real)
    for name, metric in scored.metrics.items():
        assert metric.stamp.startswith(f'adm: partial, {COUNT} of 50,000 images; pixels as the files hold them, 16x16')
        assert ('images of real.npz (sha256' in metric.stamp) != name.startswith('is_')
        assert 'random weights' in metric.stamp
        assert metric.samples == COUNT
    assert f'partial: {COUNT} images, the preset requires 50,000' in scored.notes
    assert any('not comparable' in note for note in scored.notes)
    assert not any(name in scored.metrics for name in ('fid', 'sfid', 'inception_score'))


def test_without_a_reference_there_is_what_needs_none(made: str) -> None:
    scored = evaluator(preset='adm').evaluate(made)
    assert set(scored.metrics) == {'is_random', 'is_random_std'}
    assert 'no --reference: left out fid, sfid, precision, recall' in scored.notes


def test_too_few_images_are_said_to_be_too_few(tmp_path: Path, real: str) -> None:
    scored = evaluator(metrics=['fid', 'kid']).evaluate(save_npz(random_pixels(20), tmp_path / 'few.npz'), real)
    assert 'a covariance of 64 dimensions from 20 images has rank 19' in scored.metrics['fd_random'].stamp
    assert any(note.startswith('too few images for fd_random') for note in scored.notes)


def test_scores_can_be_chosen_and_unknown_ones_are_refused(made: str, real: str) -> None:
    assert set(evaluator(metrics=['recall']).evaluate(made, real).metrics) == {'recall_random'}
    with pytest.raises(UserError, match="did you mean 'precision'"):
        evaluator(metrics=['precison'])
    with pytest.raises(UserError, match="did you mean 'strict'"):
        evaluator(preset='strikt')


# --- classes ---


def test_each_class_is_scored_like_a_set_of_its_own(tmp_path: Path) -> None:
    labels = np.arange(90) % 3
    pixels = {name: random_pixels(90, seed=seed) for name, seed in (('made', 1), ('real', 2))}
    made, real = (save_npz(each, tmp_path / f'{name}.npz', labels) for name, each in pixels.items())
    names = ['fid', 'precision', 'recall']
    scored = evaluator(metrics=names, classes=True).evaluate(made, real)
    assert sorted(scored.classes) == [0, 1, 2]
    for label, found in scored.classes.items():
        of_class = [save_npz(each[labels == label], tmp_path / f'{name}_of.npz') for name, each in pixels.items()]
        alone = evaluator(metrics=names).evaluate(*of_class)
        assert {name: metric.value for name, metric in found.items()} == pytest.approx(values(alone), rel=1e-8)
        assert all(f'class {label} only' in metric.stamp for metric in found.values())


def test_classes_need_labels_on_both_sides(tmp_path: Path, made: str, real: str) -> None:
    with pytest.raises(UserError, match=r'made\.npz: .* images have no class'):
        evaluator(classes=True).evaluate(made, real)
    labelled = save_npz(random_pixels(9), tmp_path / 'labelled.npz', np.arange(9) % 2)
    with pytest.raises(UserError, match=r'real\.npz: .* images have no class'):
        evaluator(classes=True).evaluate(labelled, real)
    with pytest.raises(UserError, match='expected a reference with classes, got none'):
        evaluator(classes=True).evaluate(labelled)


# --- bad input ---


def test_a_reference_of_another_resolution_is_refused_before_anything_is_computed(
    made: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch, after=0)
    with pytest.raises(UserError, match='a reference of 16x16 pixels like the samples, got 24x24'):
        evaluator().evaluate(made, save_npz(random_pixels(9, 24), tmp_path / 'large.npz'))


def test_a_crop_makes_both_sides_comparable_and_is_in_the_stamp(tmp_path: Path) -> None:
    for name, sides in (('made', (16, 24)), ('real', (20, 32))):
        for number in range(10):
            image = Image.fromarray(random_pixels(1, sides[number % 2], seed=number)[0])
            (tmp_path / name).mkdir(exist_ok=True)
            image.save(tmp_path / name / f'{number}.png')
    with pytest.raises(UserError, match='a set has one size'):
        evaluator().evaluate(str(tmp_path / 'made'))
    scored = evaluator(metrics=['fid'], crop=16).evaluate(str(tmp_path / 'made'), str(tmp_path / 'real'))
    assert 'cut: ADMCenterCrop to 16x16' in scored.metrics['fd_random'].stamp


def test_converted_images_are_counted_in_the_stamp(tmp_path: Path) -> None:
    folder = Path(save_folder(random_pixels(5), tmp_path / 'set'))
    Image.fromarray(random_pixels(1)[0]).convert('L').save(folder / 'grey.png')
    scored = evaluator(metrics=['inception_score'], convert=True).evaluate(str(folder))
    assert '1 image converted to RGB' in scored.metrics['is_random'].stamp


@pytest.mark.parametrize('batch_size', [0, -3])
def test_a_batch_of_nothing_is_refused(batch_size: int) -> None:
    with pytest.raises(UserError, match='batch size must be 1 or more'):
        evaluator(batch_size=batch_size)


def test_a_folder_for_statistics_that_cannot_be_written_costs_no_number(
    made: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'taken').write_text('')
    scored = evaluator(metrics=['inception_score'], cache=str(tmp_path / 'taken')).evaluate(made)
    assert isinstance(scored.metrics['is_random'], MetricValue)
    assert 'statistics not cached' in capsys.readouterr().out


def test_statistics_are_no_samples(made: str, tmp_path: Path) -> None:
    saved = str(tmp_path / 'saved.npz')
    evaluator(metrics=['inception_score']).evaluate(made, None, saved)
    with pytest.raises(UserError, match="expected 'arr_0'"):
        open_samples(saved)
