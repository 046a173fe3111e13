"""A reference is checked alike for generators and tokenizers, before the pass, and every number names it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fvq_core.data.image_folder import ImageFolder
from fvq_core.errors import UserError
from fvq_core.registry import FEATURE_EXTRACTORS
from fvq_eval.features.feature_extractor import FeatureExtractor
from fvq_eval.features.random_features import RandomFeatures
from fvq_eval.generation import ImageSetEvaluator
from fvq_eval.presets.feature_input import CodedInput
from fvq_eval.presets.jpeg_codec import jpeg
from fvq_eval.reconstruction import PresetEvaluator
from fvq_eval.statistics.image_set import ImageSetStatistics

from .image_sets import random_pixels, save_folder, save_npz
from .reconstruction_ranks import SIZE, seeded_tokenizer, write_images

RANDOM = dict(type='RandomFeatures', pool=16, spatial=16, logits=8)


class PassesForInception(RandomFeatures):
    """Random features under the name of the network that files without a name are of."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(pool=16, spatial=16, logits=8, seed=seed)
        self.name = 'inception-2015'


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setitem(FEATURE_EXTRACTORS.module_dict, 'PassesForInception', PassesForInception)


@pytest.fixture
def files(tmp_path: Path) -> ImageFolder:
    (tmp_path / 'files').mkdir()
    return ImageFolder(write_images(tmp_path / 'files'))


def of_images(**arguments: Any) -> ImageSetEvaluator:
    """`tools/evaluate.py`."""
    return ImageSetEvaluator(**{'preset': 'adm', 'extractor': RANDOM, 'cache': None, **arguments})


def of_tokenizer(presets: list[str], reference: str | None = None, **arguments: Any) -> PresetEvaluator:
    """`tools/test.py --preset`."""
    rest = {'extractor': RANDOM, 'lpips_weights': '/nowhere', 'image_size': SIZE, **arguments}
    return PresetEvaluator(presets, reference=reference, **rest)


def saved(path: Path, pixels: np.ndarray, **arguments: Any) -> str:
    """Statistics as `tools/evaluate.py --save-stats` writes them."""
    of_images(**arguments).evaluate(save_npz(pixels, path.with_suffix('.images.npz')), None, str(path))
    return str(path)


def adms(path: Path, whole: np.ndarray, listed: np.ndarray | None = None, seed: int = 0) -> str:
    """The layout of VIRTUAL_imagenet256_labeled.npz, which does not describe itself; without images if none are given."""
    statistics = ImageSetStatistics(PassesForInception(seed))
    statistics.update(torch.from_numpy(whole).permute(0, 3, 1, 2).contiguous(), torch.arange(len(whole)))
    arrays: dict[str, Any] = {} if listed is None else {'arr_0': listed}
    for name, keys in (('pool', ('mu', 'sigma')), ('spatial', ('mu_s', 'sigma_s'))):
        moments = statistics.moments[name]
        arrays |= {keys[0]: moments.mean.numpy(), keys[1]: moments.covariance.numpy()}
    np.savez(path, **arrays)
    return str(path)


# --- a tokenizer against a file ---


def test_a_tokenizers_numbers_say_the_file_that_was_really_used(files: ImageFolder, tmp_path: Path) -> None:
    path = saved(tmp_path / 'coco.npz', random_pixels(30, SIZE))
    own = of_tokenizer(['adm', 'strict'], path)
    values = own.evaluate(seeded_tokenizer(), files, batch_size=4)
    sha256 = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    words = f'against statistics in coco.npz (sha256 {sha256[:12]})'
    for name in ('adm/fd_random', 'adm/sfd_random', 'adm/precision_random'):
        assert words in values[name].stamp
    assert not any('VIRTUAL' in value.stamp for value in values.values())
    assert 'against the same crops of the same images' in values['strict/rfd_random'].stamp
    for name in ('adm/is_random', 'strict/is_random'):
        assert 'against' not in values[name].stamp  # it has no reference
    assert own.facts == {'reference': path, 'reference_is': words.removeprefix('against '), 'reference_sha256': sha256}
    printed = str(own.presets[0])
    assert 'coco.npz' in printed
    assert 'VIRTUAL' not in printed
    assert 'extractor: random' in printed


def test_a_tokenizer_and_its_reconstructions_as_files_have_the_same_distance(
    files: ImageFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, made = saved(tmp_path / 'reference.npz', random_pixels(30, SIZE)), []
    update = ImageSetStatistics.update

    def keeping(self: ImageSetStatistics, pixels: torch.Tensor, numbers: torch.Tensor) -> None:
        made.append(pixels)
        update(self, pixels, numbers)

    with monkeypatch.context() as patch:
        patch.setattr(ImageSetStatistics, 'update', keeping)
        tokenizers = of_tokenizer(['adm'], path).evaluate(seeded_tokenizer(), files, batch_size=4)
    images = save_npz(torch.cat(made).permute(0, 2, 3, 1).numpy(), tmp_path / 'made.npz')
    samples = of_images().evaluate(images, path).metrics
    assert {name.removeprefix('adm/') for name in tokenizers if name.endswith(('_random', '_random_std'))} == set(
        samples
    )
    for name, value in samples.items():
        assert tokenizers[f'adm/{name}'].value == pytest.approx(value.value, rel=1e-9), name


def test_a_file_that_does_not_fit_is_refused_before_an_image_is_read(
    files: ImageFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large, other = saved(tmp_path / 'large.npz', random_pixels(9, 2 * SIZE)), tmp_path / 'strict.npz'
    cases = (
        (large, {}, r'large\.npz: expected a reference of 64x64 pixels like the samples, got 128x128'),
        (
            saved(other, random_pixels(9, SIZE), preset='strict'),
            {},
            r"strict\.npz: expected statistics taken under 'adm",
        ),
        (large, {'extractor': {**RANDOM, 'seed': 1}}, r'large\.npz: statistics of different features'),
        (adms(tmp_path / 'VIRTUAL.npz', random_pixels(9)), {}, r'VIRTUAL\.npz: statistics of different features'),
        (save_npz(random_pixels(9), tmp_path / 'images.npz'), {}, r'images\.npz: expected statistics \(mu, sigma\)'),
    )
    monkeypatch.setattr(ImageFolder, 'read', lambda self, number: pytest.fail('an image was read'))
    for path, arguments, words in cases:
        with pytest.raises(UserError, match=words):
            of_tokenizer(['adm'], path, **arguments).evaluate(seeded_tokenizer(), files, batch_size=4)


def test_a_reference_that_no_preset_compares_with_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r'compares with a file such as adm for the reference any\.npz, got ibq, strict'
    ):
        of_tokenizer(['ibq', 'strict'], 'any.npz')


def test_adms_file_gives_a_tokenizer_precision_and_recall_among_its_images(files: ImageFolder, tmp_path: Path) -> None:
    whole = random_pixels(40, SIZE)
    arguments: dict[str, Any] = dict(extractor=dict(type='PassesForInception'))
    path = adms(tmp_path / 'VIRTUAL.npz', whole, whole[::2])
    values = of_tokenizer(['adm'], path, **arguments).evaluate(seeded_tokenizer(), files, batch_size=4)
    assert {'adm/fid', 'adm/sfid', 'adm/precision', 'adm/recall', 'adm/inception_score'} <= set(values)
    assert 'neighbours among its 20 images' in values['adm/recall'].stamp
    few, every = (
        of_tokenizer(['adm'], saved(tmp_path / f'{name}.npz', pixels, extractor=arguments['extractor']), **arguments)
        for name, pixels in (('few', whole[::2]), ('every', whole))
    )
    of_few, of_every = (each.evaluate(seeded_tokenizer(), files, batch_size=4) for each in (few, every))
    for name in ('adm/precision', 'adm/recall'):
        assert values[name].value == of_few[name].value
    assert values['adm/fid'].value == pytest.approx(of_every['adm/fid'].value, rel=1e-9)


def test_scores_that_a_file_cannot_give_are_left_out_with_a_line(files: ImageFolder, tmp_path: Path) -> None:
    path = adms(tmp_path / 'moments.npz', random_pixels(40, SIZE))
    own = of_tokenizer(['adm'], path, extractor=dict(type='PassesForInception'))
    values = own.evaluate(seeded_tokenizer(), files, batch_size=4)
    assert 'adm/precision' not in values
    why = 'the reference is statistics without the features of single images; give the images'
    assert f'adm: no precision, recall: {why}' in own.left_out
    assert own.presets[0].features.metrics == ('fid', 'sfid', 'inception_score')


# --- files that do not say how they were taken ---


@pytest.mark.parametrize('preset', ['ibq', 'rqvae', 'fvq-release'])
def test_statistics_that_say_nothing_are_refused_where_the_preset_prepares_images_otherwise(
    preset: str, tmp_path: Path
) -> None:
    made = save_npz(random_pixels(12), tmp_path / 'made.npz')
    path = adms(tmp_path / 'VIRTUAL.npz', random_pixels(40))
    arguments = dict(extractor=PassesForInception(), metrics=['fid'])
    with pytest.raises(
        UserError, match=rf"VIRTUAL\.npz: expected statistics taken under '{preset}: .* does not state how"
    ):
        of_images(preset=preset, **arguments).evaluate(made, path)
    assert 'fid' in of_images(preset='llamagen', **arguments).evaluate(made, path).metrics  # TensorFlow's resize too


def test_a_file_of_the_cache_is_not_a_reference_under_another_preset(tmp_path: Path) -> None:
    made, real = (save_npz(random_pixels(20, seed=seed), tmp_path / f'{seed}.npz') for seed in (1, 2))
    of_images(preset='strict', cache=str(tmp_path / 'kept'), metrics=['fid']).evaluate(real)
    (kept,) = (tmp_path / 'kept').glob('*.npz')
    assert of_images(preset='strict', metrics=['fid']).evaluate(made, str(kept)).metrics
    with pytest.raises(UserError, match=r"expected statistics taken under 'llamagen.*got 'strict"):
        of_images(preset='llamagen', metrics=['fid']).evaluate(made, str(kept))


# --- one image ---


def test_a_single_image_file_keeps_what_can_be_computed(tmp_path: Path) -> None:
    one = save_npz(random_pixels(1), tmp_path / 'one.npz')
    many = save_npz(random_pixels(20, seed=1), tmp_path / 'many.npz')
    scored = of_images(cache='default', metrics=['inception_score']).evaluate(one)
    assert set(scored.metrics) == {'is_random', 'is_random_std'}
    for pair in ((one, many), (many, one)):
        scored = of_images(cache='default').evaluate(*pair)
        assert set(scored.metrics) == {'is_random', 'is_random_std'}
        whose = 'the samples are' if pair[0] == one else 'the reference is'
        assert f'fid, sfid: too few images, {whose} 1 image and 2 are needed' in scored.notes
        assert f'precision, recall: too few images, {whose} 1 image and 4 are needed' in scored.notes
    with pytest.raises(UserError, match=r'one\.npz: expected two or more images to save statistics of, got 1'):
        of_images().evaluate(one, None, str(tmp_path / 'statistics.npz'))


def test_a_tokenizer_on_a_single_image_keeps_psnr_ssim_and_usage(tmp_path: Path) -> None:
    files = ImageFolder(save_folder(random_pixels(1, 80), tmp_path / 'one'))
    own = of_tokenizer(['strict'])
    values = own.evaluate(seeded_tokenizer(), files, batch_size=4)
    assert {'strict/psnr', 'strict/ssim', 'strict/usage', 'strict/is_random'} <= set(values)
    assert 'strict/rfd_random' not in values
    lines = [line for line in own.left_out if 'too few images, the samples are 1 image' in line]
    scores = ('fid, sfid, kid', 'precision, recall', 'density, coverage')
    assert [line.partition(': too')[0] for line in lines] == [f'strict: no {names}' for names in scores]


# --- a codec ---


def test_a_preset_with_a_codec_codes_both_sides_of_an_image_set(tmp_path: Path) -> None:
    pixels = {name: random_pixels(12, seed=seed) for name, seed in (('made', 1), ('real', 2))}
    paths = [save_npz(each, tmp_path / f'{name}.npz') for name, each in pixels.items()]
    coded = []
    for name, each in pixels.items():
        after = jpeg(torch.from_numpy(each).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
        coded.append(save_npz(after, tmp_path / f'{name}_coded.npz'))
    arguments = dict(metrics=['fid', 'precision'])
    got = of_images(preset='fvq-release', **arguments).evaluate(*paths)
    expected = of_images(preset='llamagen', **arguments).evaluate(
        *coded
    )  # the same network and resize, without a codec
    plain = of_images(preset='llamagen', **arguments).evaluate(*paths)
    value = got.metrics['fd_random'].value
    assert value == pytest.approx(expected.metrics['fd_random'].value, rel=1e-9)
    assert value != pytest.approx(plain.metrics['fd_random'].value, rel=1e-3)
    assert 'JPEG of default quality' in got.metrics['fd_random'].stamp


def test_statistics_without_the_codec_are_not_taken_for_those_with_it(tmp_path: Path) -> None:
    made, images = save_npz(random_pixels(12), tmp_path / 'made.npz'), random_pixels(12, seed=2)
    path = saved(tmp_path / 'coded.npz', images, preset='fvq-release')
    assert of_images(preset='fvq-release', metrics=['fid']).evaluate(made, path).metrics
    with pytest.raises(UserError, match=r"expected statistics taken under 'strict.*got 'fvq-release: JPEG of default"):
        of_images(preset='strict').evaluate(made, path)


def test_the_coded_input_is_the_network_behind_pils_jpeg() -> None:
    network, pixels = RandomFeatures(), torch.from_numpy(random_pixels(3, 32)).permute(0, 3, 1, 2).contiguous()
    coded = CodedInput(network)
    for name, features in coded(pixels).items():
        assert torch.equal(features, network(jpeg(pixels))[name])
    assert coded.preprocessing == f'JPEG of default quality, {network.preprocessing}'


def test_jpeg_files_under_a_codec_are_said_to_be_coded_once_more(tmp_path: Path) -> None:
    from PIL import Image

    for number, image in enumerate(random_pixels(3)):
        Image.fromarray(image).save(tmp_path / f'{number}.JPEG')
    arguments = dict(metrics=['inception_score'])
    notes = of_images(preset='fvq-release', **arguments).evaluate(str(tmp_path)).notes
    assert any('holds JPEG files, which fvq-release compresses again' in note for note in notes)
    assert not any('JPEG' in note for note in of_images(preset='strict', **arguments).evaluate(str(tmp_path)).notes)
    made = save_npz(random_pixels(3, 8), tmp_path.parent / 'made.npz')
    for samples, reference in ((str(tmp_path), None), (str(tmp_path), str(tmp_path)), (made, str(tmp_path))):
        notes = of_images(preset='fvq-release', crop=8, metrics=['fid']).evaluate(samples, reference).notes
        assert sum(note.startswith(f'{tmp_path} holds JPEG files') for note in notes) == 1  # cut or not


# --- presets as they are applied ---


def test_an_image_set_is_stamped_with_what_of_the_preset_was_applied(tmp_path: Path) -> None:
    made, real = (save_npz(random_pixels(20, seed=seed), tmp_path / f'{seed}.npz') for seed in (1, 2))
    scored = of_images(preset='strict', metrics=['fid', 'precision']).evaluate(made, real)
    preset = scored.facts['preset']
    assert preset['name'] == 'strict'
    assert preset['crop'] == 'none, pixels as the files hold them'
    assert preset['extractor'] == 'random'
    assert preset['features'] == 'fid precision_recall, pr_neighbours=3, pr_distances=float32'
    assert preset['reference'] == scored.facts['reference_is']
    assert not {'psnr', 'ssim', 'ms_ssim', 'lpips', 'rounding'} & set(preset)
    assert len(scored.facts['reference_sha256']) == 64
    printed = str(scored.preset)
    for word in ('psnr', 'lpips', 'kid', 'ADMCenterCrop'):
        assert word not in printed
    files = save_folder(random_pixels(20, 24), tmp_path / 'files')
    cut = of_images(preset='strict', metrics=['fid'], crop=16).evaluate(files, real)
    assert cut.facts['preset']['crop'].startswith('ADMCenterCrop to 16x16')
    assert cut.facts['reference_is'].endswith('), pixels as the files hold them')


def test_an_npz_is_never_called_cropped_and_the_reference_names_its_own_crop(tmp_path: Path) -> None:
    made, files = (
        save_npz(random_pixels(20), tmp_path / 'made.npz'),
        save_folder(random_pixels(9, 24), tmp_path / 'files'),
    )
    for reference, words in (
        (files, 'cut: ADMCenterCrop to 16x16, halved by box filter while twice too large, then bicubic (PIL)'),
        ('bundled', 'crops of the bundled photos'),
    ):
        scored = of_images(metrics=['fid', 'inception_score'], crop=16).evaluate(made, reference)
        assert scored.facts['preset']['crop'] == 'none, pixels as the files hold them'
        for name, value in scored.metrics.items():
            own, _, against = value.stamp.partition('; against ')
            assert own.startswith('adm: partial, 20 of 50,000 images; pixels as the files hold them, 16x16; ')
            assert 'cut: ' not in own
            assert (words in against) == name.startswith('fd_')


def test_what_the_network_or_the_reference_lacks_is_the_reason(tmp_path: Path) -> None:
    class Pooled(FeatureExtractor):
        """Nothing but pooled features."""

        def __init__(self) -> None:
            super().__init__()
            self.network = RandomFeatures(pool=16, spatial=16, logits=8)
            self.name, self.sizes, self.preprocessing = 'pooled', {'pool': 16}, 'none'
            self.provenance = 'random weights'
            self.freeze()

        def extract(self, pixels_BCHW: torch.Tensor) -> dict[str, torch.Tensor]:
            return {'pool': self.network.extract(pixels_BCHW)['pool']}

    made = save_npz(random_pixels(12), tmp_path / 'made.npz')
    notes = of_images(extractor=Pooled()).evaluate(made, made).notes
    assert 'sfid: the extractor has no spatial features' in notes
    assert 'inception_score: the extractor has no logits features' in notes
    notes = of_images(extractor=Pooled()).evaluate(made).notes
    assert 'no --reference: left out fid, sfid, precision, recall' in notes
    assert 'inception_score: the extractor has no logits features' in notes
    pooled = adms(tmp_path / 'moments.npz', random_pixels(40))
    with np.load(pooled) as arrays:
        np.savez(pooled, mu=arrays['mu'], sigma=arrays['sigma'])
    notes = of_images(extractor=PassesForInception()).evaluate(made, pooled).notes
    assert 'sfid: the reference has no statistics of spatial features' in notes
    assert any(note.startswith('precision, recall: the reference is statistics without') for note in notes)
