"""A tokenizer under presets: one pass over files, numbers that depend only on the images, and clear messages for bad input."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from fvq_core.autoencoder import AutoencoderOutput
from fvq_core.data.image_folder import ImageFolder
from fvq_core.data.photos import BundledPhotos
from fvq_core.data.sample import to_tensor
from fvq_core.errors import UserError
from fvq_core.images import from_uint8, to_uint8
from fvq_core.losses.perceptual.weights import BACKBONES
from fvq_core.ops.latent_perturbation import LatentPerturbation
from fvq_core.registry import TRANSFORMS
from fvq_core.tokenizer import Tokenizer
from fvq_eval.features.each_image import one_thread
from fvq_eval.features.inception_weights import FILE
from fvq_eval.features.random_features import RandomFeatures
from fvq_eval.metrics.psnr import psnr
from fvq_eval.presets import PRESETS, Crop
from fvq_eval.reconstruction import PresetEvaluator
from tests.eval.reconstruction_ranks import (
    NAMES,
    SIZE,
    error_on_rank,
    evaluate,
    evaluate_on_rank,
    evaluator,
    seeded_tokenizer,
    write_images,
)
from tests.pictures import picture, save
from tests.ranks import TwoRanks


@pytest.fixture(scope='module')
def files(tmp_path_factory: pytest.TempPathFactory) -> ImageFolder:
    """Seven images of several sizes, one smaller than the crop."""
    return ImageFolder(write_images(tmp_path_factory.mktemp('files')))


@pytest.fixture(scope='module')
def values(files: ImageFolder) -> dict[str, Any]:
    return evaluate(files)


def folder(tmp_path: Path, *images: Image.Image) -> ImageFolder:
    for number, image in enumerate(images):
        save(image, tmp_path / 'images' / f'{number}.png')
    return ImageFolder(str(tmp_path / 'images'))


# --- one pass ---


def test_every_preset_gives_its_numbers_with_its_name_first(values: dict[str, Any]) -> None:
    got = {name: {key.split('/')[1] for key in values if key.startswith(f'{name}/')} for name in NAMES}
    codes = {
        'usage',
        'usage_1pct',
        'perplexity',
        'relative_perplexity',
        'dead_codes',
        'quantization_error',
        'relative_quantization_error',
    }
    assert all(codes <= names for names in got.values())
    assert {'psnr', 'ssim', 'sfd_random', 'is_random', 'precision_random', 'recall_random'} <= got['llamagen']
    assert {'psnr_y', 'ssim'} <= got['fvq-release']
    assert {'psnr', 'ssim'} <= got['ibq']
    assert {'psnr', 'psnr_y', 'ssim', 'kd_random', 'density_random', 'coverage_random'} <= got['strict']
    for name in ('llamagen', 'fvq-release', 'ibq', 'rqvae', 'strict'):
        assert 'rfd_random' in got[name]  # never rFID on another network
    assert not any('fid' in key for key in values)
    for key, value in values.items():
        assert value.stamp.startswith(f'{key.split("/")[0]}: partial, 7 of 50,000 images; ')
        assert value.samples == 7


def test_a_file_is_decoded_once_and_each_distinct_crop_is_reconstructed_once(
    files: ImageFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, encoded = [], []
    original_read, tokenizer = ImageFolder.read, seeded_tokenizer()
    monkeypatch.setattr(ImageFolder, 'read', lambda self, number: read.append(number) or original_read(self, number))
    tokenizer.register_forward_hook(lambda module, args, output: encoded.append(len(args[0])))
    evaluator(NAMES).evaluate(tokenizer, files, batch_size=7)
    crops = {PRESETS[name].crop for name in NAMES}
    assert sorted(read) == list(range(7))
    assert sum(encoded) == 7 * len(crops)
    assert len(crops) == 4


def test_psnr_is_that_of_the_crops_by_hand(files: ImageFolder, values: dict[str, Any]) -> None:
    tokenizer = seeded_tokenizer()
    for name in ('strict', 'fvq-release', 'ibq'):
        preset = PRESETS[name].at(SIZE)
        scores = []
        for number in range(len(files)):
            with Image.open(io.BytesIO(files.read(number))) as opened:
                cut = TRANSFORMS.build(preset.crop.config())(opened.convert('RGB'), None)
            pixels = to_tensor(cut)[None]
            with torch.no_grad():
                reconstruction = tokenizer(from_uint8(pixels)).reconstruction
            if name == 'ibq':  # cut off on both sides, in the peers' order of operations
                images = torch.from_numpy((pixels.numpy() / 127.5 - 1.0).astype(np.float32))
                pixels, made = (((z.clamp(-1, 1) + 1) / 2 * 255.0).to(torch.uint8) for z in (images, reconstruction))
            else:
                made = to_uint8(reconstruction)
            scores.append(psnr(pixels, made, preset.psnr[0]).item())
        key = 'psnr_y' if name == 'fvq-release' else 'psnr'
        assert values[f'{name}/{key}'].value == pytest.approx(np.mean(scores), rel=1e-5)


def test_a_tokenizer_that_copies_has_no_distance_and_the_jpeg_does_not_count_against_it(files: ImageFolder) -> None:
    class Copy(Tokenizer):
        def forward(self, images_BCHW: Tensor, labels_B: Tensor | None = None) -> AutoencoderOutput:
            return replace(super().forward(images_BCHW), reconstruction=images_BCHW)

    tokenizer = seeded_tokenizer()
    tokenizer.__class__ = Copy
    got = evaluator(['fvq-release', 'strict']).evaluate(tokenizer, files, batch_size=4)
    assert got['strict/psnr'].value == pytest.approx(100.0)
    assert got['fvq-release/psnr_y'].value == pytest.approx(80.0)  # pyiqa's epsilon
    for name in ('fvq-release', 'strict'):
        assert got[f'{name}/ssim'].value == pytest.approx(1.0)
        assert got[f'{name}/rfd_random'].value == pytest.approx(0.0, abs=1e-6)


def test_batch_size_and_workers_change_no_printed_digit(files: ImageFolder, values: dict[str, Any]) -> None:
    for batch_size, workers in ((1, 0), (3, 2), (7, 0)):
        got = evaluator(NAMES).evaluate(seeded_tokenizer(), files, batch_size=batch_size, num_workers=workers)
        assert {key: str(value) for key, value in got.items()} == {key: str(value) for key, value in values.items()}


def test_perturbed_codes_give_other_pictures_under_another_name_whatever_the_batch(files: ImageFolder) -> None:
    def perturbed(rate: float, batch_size: int) -> dict[str, Any]:
        own = PresetEvaluator(
            ['strict'], dict(type='RandomFeatures'), image_size=SIZE, perturbation=LatentPerturbation(rate, 4)
        )
        return own.evaluate(seeded_tokenizer(), files, batch_size=batch_size)

    plain = evaluator(['strict']).evaluate(seeded_tokenizer(), files, batch_size=4)
    none, some, again = perturbed(0.0, 4), perturbed(0.7, 4), perturbed(0.7, 1)
    assert {key: str(value) for key, value in some.items()} == {key: str(value) for key, value in again.items()}
    for key, value in plain.items():
        changed = f'strict-perturbed/{key.split("/")[1]}'
        assert none[changed].value == value.value
        assert 'codes replaced at a rate of 0.7 by one of the 4 nearest' in some[changed].stamp
    for name in ('psnr', 'ssim', 'rfd_random'):
        assert some[f'strict-perturbed/{name}'].value != plain[f'strict/{name}'].value
    for name in ('usage', 'perplexity', 'bits_per_image'):
        assert some[f'strict-perturbed/{name}'].value == plain[f'strict/{name}'].value


def test_the_order_of_presets_changes_nothing_and_a_single_one_is_the_same(
    files: ImageFolder, values: dict[str, Any]
) -> None:
    assert evaluator(list(reversed(NAMES))).evaluate(seeded_tokenizer(), files, batch_size=4) == values
    alone = evaluator(['ibq']).evaluate(seeded_tokenizer(), files, batch_size=4)
    assert alone == {key: value for key, value in values.items() if key.startswith('ibq/')}


def test_nothing_is_written(files: ImageFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Image.Image, 'save', only_into_memory(Image.Image.save))
    evaluate(files)
    assert list(tmp_path.iterdir()) == []


def only_into_memory(save_image: Any) -> Any:
    def checked(self: Image.Image, file: Any, *args: Any, **kwargs: Any) -> None:
        assert isinstance(file, io.BytesIO)
        save_image(self, file, *args, **kwargs)

    return checked


def test_a_file_that_only_one_rank_cannot_read_stops_both_with_its_name(two_ranks: TwoRanks, tmp_path: Path) -> None:
    (tmp_path / 'images').mkdir()
    root = write_images(tmp_path / 'images')
    broken = tmp_path / 'images' / '3.png'
    broken.write_bytes(broken.read_bytes()[:200])
    first, second = two_ranks.run(error_on_rank, root)
    assert first == second
    assert '1 of 7 images cannot be read' in first
    assert '3.png' in first


def test_two_ranks_with_uneven_shares_equal_one(
    files: ImageFolder, values: dict[str, Any], two_ranks: TwoRanks
) -> None:
    first, second = two_ranks.run(evaluate_on_rank, files.root)
    assert second == {}
    assert first.keys() == values.keys()
    for key, value in values.items():
        assert first[key]['value'] == pytest.approx(value.value, rel=1e-10, abs=1e-10), key
        assert {**first[key], 'value': value.value} == value.to_dict()


def test_the_number_of_threads_changes_no_bit(files: ImageFolder) -> None:
    found = []
    for threads in (1, 2, 3):
        with one_thread():  # restores the number
            torch.set_num_threads(threads)
            found.append({key: value.value for key, value in evaluate(files).items()})
    assert found[1] == found[0]
    assert found[2] == found[0]


def test_dead_codes_are_listed(files: ImageFolder) -> None:
    own = evaluator(['strict', 'rqvae'])
    got = own.evaluate(seeded_tokenizer(), files, batch_size=4)
    for name in ('strict', 'rqvae'):
        assert len(own.dead_codes[name]) == got[f'{name}/dead_codes'].value
    assert json.dumps(own.dead_codes)


def test_the_trained_inception_network_gives_an_rfid(files: ImageFolder, tmp_path: Path) -> None:
    weights = Path(torch.hub.get_dir(), 'checkpoints', FILE)
    if not weights.is_file():
        pytest.skip(f'{weights} is not there')
    own = PresetEvaluator(['rqvae', 'strict'], lpips_weights=str(tmp_path), image_size=SIZE)
    got = own.evaluate(seeded_tokenizer(), files, batch_size=4)
    assert got['rqvae/rfid'].value > 0
    assert got['strict/rfid'].value > 0
    assert 'TOO FEW' in got['strict/rfid'].stamp


# --- what is left out, and why ---


def test_what_has_no_weights_or_too_few_pixels_is_left_out_with_a_line_each(
    files: ImageFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = PresetEvaluator(['strict'], extractor=False, lpips_weights=str(tmp_path), image_size=SIZE)
    got = own.evaluate(seeded_tokenizer(), files, batch_size=4)
    assert not any(key.split('/')[1].startswith(('lpips', 'feature', 'rf', 'ms_')) for key in got)
    small, networks = own.left_out
    assert small == 'strict: no ms_ssim: it needs 161 pixels, the crops are 64x64'
    assert networks.startswith(f'strict: no lpips_alex, lpips_vgg, lpips_squeeze: LPIPS: {tmp_path}')
    assert all(name in networks for name in BACKBONES.values())
    (applied,) = own.presets
    assert (applied.ms_ssim, applied.lpips, applied.features.metrics) == (False, (), ())
    assert (applied.extractor, applied.preprocessing) == ('none', 'none')
    assert applied.ssim == PRESETS['strict'].ssim


def test_without_inception_weights_one_line_tells_why_there_is_no_rfid(
    files: ImageFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fvq_core.losses.perceptual.weights import MissingWeightsError
    from fvq_core.registry import FEATURE_EXTRACTORS

    def missing(*args: Any, **kwargs: Any) -> None:
        raise MissingWeightsError('the weights are not here')

    monkeypatch.setitem(FEATURE_EXTRACTORS.module_dict, 'InceptionV3', missing)
    own = PresetEvaluator(['rqvae'], lpips_weights=str(tmp_path), image_size=SIZE)
    got = own.evaluate(seeded_tokenizer(), files, batch_size=4)
    assert 'rqvae/usage' in got
    assert own.left_out == ['no rFID and no other score of features: the weights are not here']
    with pytest.raises(UserError, match='the weights are not here'):  # asked for by name, it must be there
        PresetEvaluator(['rqvae'], extractor=dict(type='InceptionV3'), image_size=SIZE).evaluate(
            seeded_tokenizer(), files, batch_size=4
        )


def test_a_preset_with_a_reference_of_its_own_reports_that_it_is_missing(files: ImageFolder) -> None:
    own = evaluator(['adm'])
    got = own.evaluate(seeded_tokenizer(), files, batch_size=4)
    assert 'adm/is_random' in got
    assert not any('fd_' in key for key in got)
    assert any('VIRTUAL_imagenet256_labeled.npz' in line for line in own.left_out)


# --- bad input ---


def test_grey_palette_cmyk_and_opaque_alpha_are_taken_as_pil_converts_them(tmp_path: Path) -> None:
    rgb = picture(80, 70)
    with_alpha = rgb.copy()
    with_alpha.putalpha(255)
    save(rgb.convert('L'), tmp_path / 'images/0.png')
    save(rgb.convert('P'), tmp_path / 'images/1.png')
    rgb.convert('CMYK').save(tmp_path / 'images/2.jpg')
    save(with_alpha, tmp_path / 'images/3.png')
    got = evaluator(['strict']).evaluate(seeded_tokenizer(), ImageFolder(str(tmp_path / 'images')), batch_size=4)
    assert got['strict/psnr'].samples == 4
    assert math.isfinite(got['strict/psnr'].value)


def test_sixteen_bits_and_transparency_stop_with_the_files_name(tmp_path: Path) -> None:
    deep = Image.fromarray(np.full((70, 80), 40_000, np.uint16))
    clear = picture(80, 70)
    clear.putalpha(100)
    for number, (image, words) in enumerate(((deep, 'expected 8 bits'), (clear, 'transparent pixels'))):
        with pytest.raises(UserError, match=rf'0\.png.*{words}'):
            evaluator(['strict']).evaluate(seeded_tokenizer(), folder(tmp_path / str(number), image), batch_size=4)


def test_a_truncated_file_is_named_and_not_counted_and_too_many_stop(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = folder(tmp_path, *[picture(80, 70, seed) for seed in range(4)])
    path = tmp_path / 'images/2.png'
    path.write_bytes(path.read_bytes()[:2000])
    got = evaluator(['strict']).evaluate(seeded_tokenizer(), files, batch_size=3, max_unreadable=0.5)
    assert got['strict/psnr'].samples == 3
    assert '2.png' in caplog.text
    with pytest.raises(UserError, match=r'1 of 4 images cannot be read'):
        evaluator(['strict']).evaluate(seeded_tokenizer(), files, batch_size=3)


class Broken(torch.nn.Module):
    """A stand-in decoder that spoils what a tokenizer makes of one image of a batch."""

    def __init__(self, decoder: torch.nn.Module, spoil: Any) -> None:
        super().__init__()
        self.decoder, self.spoil = decoder, spoil

    def forward(self, z: Tensor, z_q: Tensor) -> Tensor:
        return self.spoil(self.decoder(z))


class NaNInTheSecond:
    """Spoils the second image that it sees; a CPU decodes them one by one."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x.clone().fill_(float('nan')) if self.calls == 2 else x


@pytest.mark.parametrize(
    ('spoil', 'words'),
    [
        (NaNInTheSecond(), r'1\.png: the reconstruction is not finite'),
        (lambda x: x[..., :-2], 'must keep the size'),
        (lambda x: (x * 127).to(torch.uint8), 'expected floats, nominally in'),
    ],
)
def test_broken_reconstructions_are_refused(spoil: Any, words: str, tmp_path: Path) -> None:
    tokenizer = seeded_tokenizer()
    tokenizer.decoder = Broken(tokenizer.decoder, spoil)
    files = folder(tmp_path, *[picture(80, 70, seed) for seed in range(3)])
    with one_thread(), pytest.raises(UserError, match=words):
        evaluator(['strict']).evaluate(tokenizer, files, batch_size=3)


def test_data_that_is_cropped_already_is_refused() -> None:
    with pytest.raises(UserError, match=r'BundledPhotos gives crops of its own; pass --data DIR'):
        evaluator(['strict']).evaluate(seeded_tokenizer(), BundledPhotos('eval', crops=4), batch_size=2)


def test_presets_that_cannot_be_applied_are_refused(files: ImageFolder) -> None:
    with pytest.raises(UserError, match="did you mean 'strict'"):
        PresetEvaluator(['strickt'])
    with pytest.raises(UserError, match='distinct presets, got ibq, ibq'):
        PresetEvaluator(['ibq', 'ibq'])
    with pytest.raises(UserError, match="preset 'ibq': VQGANEncoder: image sides must be multiples of 2, got 33x33"):
        PresetEvaluator(['ibq'], extractor=False, image_size=33).evaluate(seeded_tokenizer(), files)


def test_another_data_set_makes_the_numbers_whole(files: ImageFolder) -> None:
    got = evaluator(['rqvae'], images=7).evaluate(seeded_tokenizer(), files, batch_size=4)
    assert not any('partial' in value.stamp for value in got.values())


def test_a_preset_of_ones_own_is_applied(files: ImageFolder) -> None:
    own = replace(PRESETS['llamagen'], name='mine', crop=Crop('CenterCrop', SIZE))
    got = PresetEvaluator([own], extractor=False).evaluate(seeded_tokenizer(), files, batch_size=4)
    assert got['mine/psnr'].stamp.startswith('mine: partial, 7 of 50,000 images; CenterCrop to 64x64')


def test_random_features_are_never_called_inception() -> None:
    assert RandomFeatures().name != PRESETS['strict'].extractor
