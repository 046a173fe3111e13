"""Statistics of an image set do not depend on batches, order or ranks, and every number is stamped."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fvq_core.errors import UserError
from fvq_eval.distances import frechet_distance
from fvq_eval.features.random_features import RandomFeatures
from fvq_eval.statistics.cache import StatisticsCache
from fvq_eval.statistics.conventions import ADM
from fvq_eval.statistics.image_set import ImageSetStatistics
from fvq_eval.statistics.moments import Moments
from fvq_eval.statistics.scores import FeatureConventions, compare

from ..ranks import TwoRanks
from .two_ranks import CASES, COUNT, pixels, statistics, statistics_on_rank

SMALL = FeatureConventions(kid_subsets=3, kid_subset_size=20, is_splits=4)


@pytest.fixture(scope='module')
def alone() -> ImageSetStatistics:
    return statistics(list(range(COUNT)), 16)


@pytest.fixture(scope='module')
def others() -> ImageSetStatistics:
    return statistics(list(range(1000, 1080)), 16)


def assert_same(got: ImageSetStatistics, want: ImageSetStatistics, rtol: float) -> None:
    for name in ('pool', 'spatial'):
        a, b = got.gaussian(name), want.gaussian(name)
        assert a is not None
        assert b is not None
        assert a.count == b.count == COUNT
        torch.testing.assert_close(a.mean_D, b.mean_D, rtol=rtol, atol=rtol)
        torch.testing.assert_close(a.covariance_DD, b.covariance_DD, rtol=rtol, atol=rtol)


def test_moments_are_numpy_s_mean_and_covariance():
    x_ND = torch.randn(300, 5, dtype=torch.float64) + 1e4
    moments = Moments(5)
    for part in x_ND.split(64):
        moments.update(part)
    np.testing.assert_allclose(moments.mean, x_ND.numpy().mean(0), rtol=1e-15)
    np.testing.assert_allclose(moments.covariance, np.cov(x_ND.numpy(), rowvar=False), rtol=1e-12)


def test_moments_about_any_shift_are_the_same():
    x_ND = torch.randn(50, 4)
    plain, shifted = Moments(4), Moments(4, torch.full((4,), 7.0))
    for moments in (plain, shifted):
        moments.update(x_ND)
    torch.testing.assert_close(plain.covariance, shifted.covariance, rtol=1e-12, atol=1e-13)
    plain.rebase(torch.full((4,), -3.0))
    torch.testing.assert_close(plain.covariance, shifted.covariance, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(plain.mean, x_ND.double().mean(0), rtol=1e-13, atol=1e-14)


def test_moments_of_parts_add_up_and_can_be_taken_out():
    x_ND = torch.randn(50, 4)
    whole, parts = Moments(4), Moments(4)
    whole.update(x_ND)
    parts.update(x_ND[:20])
    parts.update(x_ND[20:])
    assert parts.count == 50
    torch.testing.assert_close(parts.covariance, whole.covariance, rtol=1e-12, atol=1e-13)
    parts.remove(x_ND[20:])
    torch.testing.assert_close(parts.covariance, x_ND[:20].double().T.cov(), rtol=1e-12, atol=1e-13)


def test_a_covariance_needs_two_images():
    moments = Moments(4)
    moments.update(torch.randn(1, 4))
    with pytest.raises(UserError, match='at least 2 images, got 1'):
        moments.covariance  # noqa: B018


def test_batch_size_and_order_change_no_feature_and_no_printed_digit(alone: ImageSetStatistics):
    backwards = statistics(list(reversed(range(COUNT))), 1)
    for name in ('pool', 'logits'):
        assert torch.equal(backwards.features(name), alone.features(name))
    assert_same(backwards, alone, 1e-12)


def test_features_come_in_the_order_of_the_images_numbers(alone: ImageSetStatistics):
    want = RandomFeatures()(pixels(list(range(COUNT))))['pool']
    assert torch.equal(alone.features('pool'), want)


def test_an_image_that_comes_twice_counts_once(alone: ImageSetStatistics):
    twice = statistics([*range(COUNT), 3, 50, 3], 40)
    assert twice.count == COUNT
    assert_same(twice, alone, 1e-13)


@pytest.mark.parametrize('keep', [True, False])
@pytest.mark.parametrize('name', CASES)
def test_two_ranks_are_one(
    name: str, keep: bool, two_ranks: TwoRanks, tmp_path: Path, alone: ImageSetStatistics, others: ImageSetStatistics
):
    two_ranks.run(statistics_on_rank, name, keep, f'{tmp_path}/rank')
    for rank in range(2):
        both = ImageSetStatistics.load(tmp_path / f'rank{rank}.npz')
        assert_same(both, alone, 1e-10)
        conventions = SMALL if keep else replace(SMALL, metrics=('fid', 'sfid'))
        got, want = (compare(others, each, conventions, 'strict') for each in (both, alone))
        assert got.keys() == want.keys()
        for key in want:
            assert got[key].value == pytest.approx(want[key].value, rel=1e-10), key
        for feature in ('pool', 'logits') if keep else ():
            assert torch.equal(both.features(feature), alone.features(feature))
        if not keep:
            assert both.features('pool') is None


def test_saved_statistics_are_the_same_when_loaded(
    alone: ImageSetStatistics, others: ImageSetStatistics, tmp_path: Path
):
    alone.save(tmp_path / 'set.npz')
    loaded = ImageSetStatistics.load(tmp_path / 'set.npz')
    assert (loaded.count, loaded.fingerprint, loaded.provenance) == (COUNT, alone.fingerprint, alone.provenance)
    biased = replace(SMALL, logit_bias=True)
    assert compare(others, loaded, biased, 'strict') == compare(others, alone, biased, 'strict')
    assert [path.name for path in tmp_path.iterdir()] == ['set.npz']
    with pytest.raises(UserError, match='finished'):
        loaded.update(pixels([500]), torch.tensor([500]))


def test_statistics_can_be_read_by_adm_s_keys(alone: ImageSetStatistics, tmp_path: Path):
    alone.save(tmp_path / 'set.npz', features=False)
    with np.load(tmp_path / 'set.npz', allow_pickle=False) as file:
        assert {'mu', 'sigma', 'mu_s', 'sigma_s'} <= set(file.files)
        assert 'features_pool' not in file.files
        np.testing.assert_array_equal(file['sigma_s'], alone.gaussian('spatial').covariance_DD)


def test_adm_s_reference_is_read_and_is_only_for_inception_features(alone: ImageSetStatistics, tmp_path: Path):
    pool, spatial = alone.gaussian('pool'), alone.gaussian('spatial')
    arrays = dict(mu=pool.mean_D, sigma=pool.covariance_DD, mu_s=spatial.mean_D, sigma_s=spatial.covariance_DD)
    np.savez(tmp_path / 'virtual.npz', **{key: value.numpy().astype(np.float32) for key, value in arrays.items()})
    reference = ImageSetStatistics.load(tmp_path / 'virtual.npz')
    assert (reference.count, reference.fingerprint) == (None, None)
    with pytest.raises(UserError, match='statistics of different features'):
        compare(reference, alone, SMALL, 'adm')

    class Disguised(RandomFeatures):
        def __init__(self) -> None:
            super().__init__()
            self.name = 'inception-2015'

    inception = ImageSetStatistics(Disguised())
    inception.update(pixels(list(range(2000, 2090))), torch.arange(90))
    scores = compare(reference, inception, SMALL, 'adm')
    assert set(scores) == {'fid', 'sfid', 'inception_score', 'inception_score_std'}
    assert 'reference of an unstated number of images' in scores['fid'].stamp
    assert 'virtual.npz, which does not name its network' in scores['fid'].stamp
    neighbours = ImageSetStatistics(Disguised())
    neighbours.update(pixels(list(range(20))), torch.arange(20))
    joined = reference.with_features_of(neighbours)
    scores = compare(joined, inception, SMALL, 'adm')
    assert {'fid', 'kid', 'precision', 'coverage'} <= set(scores)
    assert '20 reference features' in scores['precision'].stamp


@pytest.mark.parametrize(
    ('arrays', 'message'),
    [
        (dict(arr_0=np.zeros((2, 4, 4, 3), np.uint8)), r'expected statistics \(mu, sigma\)'),
        (dict(mu=np.zeros(4), sigma=np.zeros((3, 3))), 'do not fit'),
        (dict(mu=np.full(3, np.nan), sigma=np.zeros((3, 3))), 'NaN or infinity'),
        (dict(mu=np.array([{}]), sigma=np.zeros((1, 1))), 'holds Python objects'),
    ],
)
def test_files_that_hold_no_statistics_are_refused(arrays: dict[str, np.ndarray], message: str, tmp_path: Path):
    np.savez(tmp_path / 'bad.npz', **arrays)
    with pytest.raises(UserError, match=message):
        ImageSetStatistics.load(tmp_path / 'bad.npz')


def test_truncated_statistics_are_refused(alone: ImageSetStatistics, tmp_path: Path):
    alone.save(tmp_path / 'set.npz')
    data = (tmp_path / 'set.npz').read_bytes()
    (tmp_path / 'set.npz').write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match='cannot be read as npz'):
        ImageSetStatistics.load(tmp_path / 'set.npz')


def test_a_subset_is_the_set_of_its_images(alone: ImageSetStatistics, others: ImageSetStatistics):
    chosen = [5, 90, 7, *range(30, 60)]
    subset, want = alone.subset(chosen), statistics(chosen, 8)
    scores = compare(others, subset, SMALL, 'strict')
    assert 'sfd_random' not in scores  # spatial features of every image are kept on request alone
    for key, value in scores.items():
        assert value.value == pytest.approx(compare(others, want, SMALL, 'strict')[key].value, rel=1e-9), key
    with pytest.raises(UserError, match='image 500 is not in this set'):
        alone.subset([1, 500])
    everything = ImageSetStatistics(RandomFeatures(), keep_features=('pool', 'spatial'))
    everything.update(pixels(chosen), torch.tensor(chosen))
    assert everything.subset(chosen[:20]).gaussian('spatial') is not None


def test_numbers_and_pixels_must_fit(alone: ImageSetStatistics):
    new = ImageSetStatistics(RandomFeatures())
    with pytest.raises(UserError, match='one whole number for each of 2 images'):
        new.update(pixels([1, 2]), torch.tensor([1]))
    with pytest.raises(UserError, match='one whole number'):
        new.update(pixels([1]), torch.tensor([1.0]))


def test_scores_are_the_functions_of_the_features(alone: ImageSetStatistics, others: ImageSetStatistics):
    a, b = (each.features('pool').double() for each in (others, alone))
    want = frechet_distance(a.mean(0), a.T.cov(), b.mean(0), b.T.cov())
    scores = compare(others, alone, SMALL, 'strict')
    assert scores['fd_random'].value == pytest.approx(want, rel=1e-10)
    assert scores['fd_random'].samples == COUNT
    assert set(scores) == {
        *('fd_random', 'sfd_random', 'kd_random', 'kd_random_std', 'kd_random_all', 'is_random', 'is_random_std'),
        *('precision_random', 'recall_random', 'density_random', 'coverage_random'),
    }


def test_every_number_has_its_protocol_and_its_network(alone: ImageSetStatistics, others: ImageSetStatistics):
    scores = compare(others, alone, ADM, 'adm')
    for key, value in scores.items():
        assert value.stamp.startswith('adm: '), key
        assert value.protocol.endswith('random weights, seed 0: not a trained network'), key
    assert 'float16' in scores['precision_random'].stamp
    assert 'splits of 5000, in order, float32, logits without bias; ' in scores['is_random'].stamp
    assert 'subsets of 80, seed 2020' in scores['kd_random'].stamp
    assert 'TOO FEW images for subsets of 1000' in scores['kd_random'].stamp
    assert 'TOO FEW' not in scores['fd_random'].stamp


def test_too_few_images_for_a_covariance_are_said(others: ImageSetStatistics):
    few = statistics(list(range(9)), 4)
    protocol = compare(others, few, SMALL, 'strict')['fd_random'].stamp
    assert 'TOO FEW sample images: a covariance of 64 dimensions from 9 images has rank 8 at most' in protocol
    assert 'TOO FEW reference' not in protocol


def test_without_a_reference_there_is_only_the_inception_score(alone: ImageSetStatistics):
    assert set(compare(None, alone, SMALL, 'strict')) == {'is_random', 'is_random_std'}


def test_without_features_there_are_only_frechet_distances(others: ImageSetStatistics):
    slim = statistics(list(range(40)), 8, keep_features=False)
    assert set(compare(others, slim, SMALL, 'strict')) == {'fd_random', 'sfd_random'}


def test_sets_of_different_weights_are_not_compared(alone: ImageSetStatistics):
    other = ImageSetStatistics(RandomFeatures(seed=1))
    other.update(pixels([1, 2, 3]), torch.tensor([1, 2, 3]))
    with pytest.raises(UserError, match=r'statistics of different features.*seed 1'):
        compare(alone, other, SMALL, 'strict')


def test_conventions_print_all_of_themselves_and_refuse_nonsense():
    for field in ('is_split_size=5000', 'pr_distances=float16', 'kid_subsets=100', 'logit_bias=False'):
        assert field in str(ADM)
    with pytest.raises(UserError, match="did you mean 'fid'"):
        FeatureConventions(metrics=('fidd',))
    with pytest.raises(UserError, match='exactly one of is_splits and is_split_size'):
        FeatureConventions(is_split_size=5000)
    with pytest.raises(UserError, match="pr_distances='bfloat16'"):
        FeatureConventions(pr_distances='bfloat16')


def test_the_bias_moves_the_inception_score(alone: ImageSetStatistics):
    plain, biased = (compare(None, alone, replace(SMALL, logit_bias=bias), 'strict') for bias in (False, True))
    assert plain['is_random'].value != pytest.approx(biased['is_random'].value, rel=1e-4)
    assert 'logits with bias' in biased['is_random'].stamp


def test_a_cache_gives_back_what_is_the_same_and_nothing_else(
    alone: ImageSetStatistics, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    cache = StatisticsCache(tmp_path / 'cache')
    assert alone.fingerprint is not None
    path = cache.put('content', 'strict', alone)
    found = cache.find('content', 'strict', alone.fingerprint)
    assert found is not None
    assert_same(found, alone, 0.0)
    for content, preset, fingerprint in (
        ('other content', 'strict', alone.fingerprint),
        ('content', 'adm', alone.fingerprint),
        ('content', 'strict', 'other network'),
    ):
        assert cache.find(content, preset, fingerprint) is None
    assert not caplog.records
    path.replace(cache.path('other content', 'strict', alone.fingerprint))
    with caplog.at_level(logging.WARNING, 'fvq'):
        assert cache.find('other content', 'strict', alone.fingerprint) is None
    assert 'does not hold the statistics of its name' in caplog.text


def test_a_half_written_cache_is_reported_and_not_used(
    alone: ImageSetStatistics, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    cache = StatisticsCache(tmp_path)
    path = cache.put('content', 'strict', alone)
    path.write_bytes(path.read_bytes()[:1000])
    with caplog.at_level(logging.WARNING, 'fvq'):
        assert cache.find('content', 'strict', str(alone.fingerprint)) is None
    assert caplog.records


@pytest.mark.parametrize('edited', ['mu', 'features_pool', 'counts', 'more features'])
def test_an_edited_cache_is_reported_and_not_used(
    edited: str, alone: ImageSetStatistics, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    cache = StatisticsCache(tmp_path)
    path = cache.put('content', 'strict', alone)
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    if edited == 'counts':
        arrays['fvq'] = np.array(str(arrays['fvq']).replace(f'"pool": {COUNT}', '"pool": 50000'))
        assert '50000' in str(arrays['fvq'])
    elif edited == 'more features':
        arrays['features_spatial'] = arrays['features_pool']
    else:
        arrays[edited] = arrays[edited] * np.float32(1.001)
    np.savez(path, **arrays)
    with caplog.at_level(logging.WARNING, 'fvq'):
        assert cache.find('content', 'strict', str(alone.fingerprint)) is None
    assert 'expected the statistics that were saved, got edited ones' in caplog.text
    with pytest.raises(UserError, match='got edited ones'):
        ImageSetStatistics.load(path)


@pytest.mark.parametrize('header', ['[]', '3', '"x"', 'null', 'no json', '{"counts": 3}', '{"version": 1}'])
def test_a_broken_header_is_reported_and_not_used(
    header: str, alone: ImageSetStatistics, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    cache = StatisticsCache(tmp_path)
    path = cache.put('content', 'strict', alone)
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    np.savez(path, **{**arrays, 'fvq': header})
    with caplog.at_level(logging.WARNING, 'fvq'):
        assert cache.find('content', 'strict', str(alone.fingerprint)) is None
    assert caplog.records
    with pytest.raises(UserError, match=r'make (the statistics|them) again'):
        ImageSetStatistics.load(path)


def test_moments_of_features_kept_in_part(alone: ImageSetStatistics):
    with pytest.raises(UserError, match='this extractor has'):
        ImageSetStatistics(RandomFeatures(), keep_features=('pool', 'wavelets'))
