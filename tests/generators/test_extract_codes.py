"""From image files to a store of codes: the crops, what is encoded, and what happens to bad images."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import TenCrop as TorchvisionTenCrop

from fvq_core.data.decoding import decode
from fvq_core.data.photos import PHOTO_NAMES, load_photos, photo_parts
from fvq_core.data.sample import sample_rng, to_tensor
from fvq_core.data.transforms import ADMCenterCrop, ADMRandomCrop, CropTooLargeError
from fvq_core.errors import NonFiniteError, UserError
from fvq_core.images import from_uint8
from fvq_core.tokenizer import Tokenizer
from fvq_generators.codes_store import CodesStore, Manifest
from fvq_generators.extraction import extract_codes as library
from fvq_generators.extraction.extract_codes import extract_codes
from fvq_generators.extraction.images import PhotoParts, image_source, source_digest
from fvq_generators.extraction.multi_crop import ImageWindows, TenCrop, parse_crops
from fvq_generators.fingerprint import tokenizer_hash
from tests.tiny import tiny_tokenizer

from ..pictures import gradient, picture, save

NAMES = dict(tokenizer='tiny', source='pictures')
SIZES = [(23, 17), (40, 31), (19, 60), (16, 16), (33, 20), (18, 18)]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six images of two classes, none smaller than 16 pixels."""
    for number, (width, height) in enumerate(SIZES):
        save(picture(width, height, number), tmp_path / 'photos' / f'class{number % 2}' / f'{number}.png')
    return tmp_path / 'photos'


@pytest.fixture
def tokenizer() -> Tokenizer:
    return tiny_tokenizer().fold()


def extract(data: Path | str, out: Path, tokenizer: Tokenizer, crops: list[str], size: int = 12, **options) -> Manifest:
    made_of = {key: options.pop(key) for key in ('flip', 'ranges', 'upsample') if key in options}
    return extract_codes(
        tokenizer, image_source(str(data)), out, parse_crops(crops, size, **made_of), names=NAMES, **options
    )


def encoded(tokenizer: Tokenizer, crops: list[Image.Image]) -> Tensor:
    with torch.no_grad():
        return tokenizer.encode(from_uint8(torch.stack([to_tensor(crop) for crop in crops]))).indices_BL


def classes_in_order(photos: Path) -> list[Path]:
    return [*sorted((photos / 'class0').iterdir()), *sorted((photos / 'class1').iterdir())]


@pytest.mark.parametrize(
    ('size', 'crop_range', 'side'), [(256, 1.1, 281), (256, 1.05, 268), (12, 1.1, 13), (12, 1, 12)]
)
def test_the_ten_crops_are_torchvisions_of_a_centre_crop(size: int, crop_range: float, side: int):
    ten = TenCrop(size, [crop_range])
    assert ten.crops[0].size == side
    image = ADMCenterCrop(side)(gradient(400, 300), sample_rng(0, 0))
    views = ten.from_windows([to_tensor(image)[None]])
    wanted = torch.stack([to_tensor(crop) for crop in TorchvisionTenCrop(size)(image)])
    assert torch.equal(views, wanted[None])


def test_several_ranges_give_ten_crops_each_and_the_others_mirror_last():
    first, second = (torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8) for side in (13, 12))
    both = TenCrop(12, [1.1, 1.05])
    assert both.count == 20
    wanted = [TenCrop(12, [1.1]).from_windows([first]), TenCrop(12, [1.05]).from_windows([second])]
    assert torch.equal(both.from_windows([first, second]), torch.cat(wanted, 1))
    windows = list(torch.randint(0, 256, (3, 2, 3, 12, 12), dtype=torch.uint8))
    three = parse_crops(['random', '3'], 12, flip=True)
    assert three.count == 6
    assert torch.equal(three.from_windows(windows), torch.stack([*windows, *(w.flip(-1) for w in windows)], 1))


def test_native_crops_are_pixels_of_the_image_as_it_is():
    image = Image.fromarray(np.arange(30 * 20 * 3, dtype=np.uint8).reshape(20, 30, 3))
    pixels, crops = to_tensor(image), parse_crops(['native', '8'], 12)
    places = set()
    for window in ImageWindows([], crops)._cut(image, sample_rng(0, 0)):
        found = [
            (top, left)
            for top in range(9)
            for left in range(19)
            if torch.equal(window, pixels[:, top : top + 12, left : left + 12])
        ]
        places.update(found)
        assert len(found) == 1
    assert len(places) > 4
    assert crops.to_dict() == dict(kind='native', size=12, flip=False, count=8)
    with pytest.raises(CropTooLargeError):
        ImageWindows([], parse_crops(['native', '1'], 21))._cut(image, sample_rng(0, 0))
    (larger,) = ImageWindows([], parse_crops(['native', '1'], 40, upsample=True))._cut(image, sample_rng(0, 0))
    assert larger.shape == (3, 40, 40)


def test_random_crops_take_their_shares_of_the_short_side():
    crop = parse_crops(['random', '1'], 12, ranges=[0.25, 0.5]).crops[0]
    assert crop.short_sides == (24, 48)


@pytest.mark.parametrize(
    ('crops', 'options', 'message'),
    [
        (['eleven'], {}, "takes 'ten', 'center', 'random N' or 'native N' with a whole number N, got 'eleven'"),
        (['random'], {}, "got 'random'"),
        (['random', '-1'], {}, "got 'random -1'"),
        (['random', '0'], {}, 'expected 1 crop of an image or more, got 0'),
        (['ten', '2'], {}, "got 'ten 2'"),
        (['center'], dict(ranges=[1.1]), '--crop-range is for --crops ten and random, not for center'),
        (['native', '2'], dict(ranges=[0.5, 1.0]), '--crop-range is for --crops ten and random, not for native'),
        (['random', '2'], dict(ranges=[0.5]), 'take the smallest and the largest share, such as 0.8 1; got 0.5'),
        (['random', '2'], dict(ranges=[0.5, 1.5]), 'need 0 < min_fraction <= max_fraction <= 1, got 0.5 and 1.5'),
        (['ten'], dict(ranges=[0.9]), 'a crop range lies between 1 and 10'),
        (['center'], dict(size=0), 'size must be 1 or more, got 0'),
    ],
)
def test_crops_that_cannot_be_are_refused(crops: list[str], options: dict, message: str):
    with pytest.raises(UserError, match=message):
        parse_crops(crops, **{'size': 12, **options})


def test_ten_crops_of_every_image_are_encoded(photos: Path, tmp_path: Path, tokenizer: Tokenizer):
    manifest = extract(photos, tmp_path / 'store', tokenizer, ['ten'])
    store = CodesStore(tmp_path / 'store')
    assert (len(store), store.num_crops, store.tokenizer_hash) == (6, 10, tokenizer_hash(tokenizer))
    assert manifest.source == 'pictures'
    assert [store.label(number) for number in range(6)] == [0, 0, 0, 1, 1, 1]
    for number, path in enumerate(classes_in_order(photos)):
        window = ADMCenterCrop(13)(Image.open(path).convert('RGB'), sample_rng(0, 0))
        assert torch.equal(store.all_codes(number), encoded(tokenizer, list(TorchvisionTenCrop(12)(window))))
    assert len(store.all_codes(0).unique()) > 1


def test_centre_crops_and_their_mirror_images(photos: Path, tmp_path: Path, tokenizer: Tokenizer):
    extract(photos, tmp_path / 'plain', tokenizer, ['center'])
    extract(photos, tmp_path / 'flip', tokenizer, ['center'], flip=True)
    plain, flip = CodesStore(tmp_path / 'plain'), CodesStore(tmp_path / 'flip')
    assert (plain.num_crops, flip.num_crops) == (1, 2)
    for number, path in enumerate(classes_in_order(photos)):
        crop = ADMCenterCrop(12)(Image.open(path).convert('RGB'), sample_rng(0, 0))
        pair = [crop, crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
        assert torch.equal(flip.all_codes(number), encoded(tokenizer, pair))
        assert torch.equal(plain.codes(number, 0), flip.codes(number, 0))


def test_random_crops_depend_only_on_the_seed_and_the_image(photos: Path, tmp_path: Path, tokenizer: Tokenizer):
    for name, options in dict(
        one=dict(seed=3), same=dict(seed=3, batch_size=1, shard_size=4, num_workers=1), other=dict(seed=4)
    ).items():
        extract(photos, tmp_path / name, tokenizer, ['random', '3'], **options)
    one, same, other = (CodesStore(tmp_path / name) for name in ('one', 'same', 'other'))
    rng = sample_rng(3, 2)
    image = Image.open(classes_in_order(photos)[2]).convert('RGB')
    wanted = encoded(tokenizer, [ADMRandomCrop(12)(image, rng) for _ in range(3)])
    assert torch.equal(one.all_codes(2), wanted)
    assert all(torch.equal(one.all_codes(number), same.all_codes(number)) for number in range(6))
    assert not torch.equal(one.all_codes(2), other.all_codes(2))


def test_a_store_without_classes_is_reported_at_its_end(photos: Path, tmp_path: Path, tokenizer: Tokenizer):
    said: list[str] = []
    extract(photos, tmp_path / 'with', tokenizer, ['center'], log=said.append)
    assert said == []
    extract(photos / 'class0', tmp_path / 'without', tokenizer, ['center'], log=said.append)
    (line,) = said
    assert line.startswith(f'{tmp_path}/without: its images have no classes (label -1)')
    assert 'put the images into a folder a class' in line
    assert CodesStore(tmp_path / 'without').label(0) == -1


def test_tar_shards_give_the_codes_of_the_files_in_them(photos: Path, tmp_path: Path, tokenizer: Tokenizer):
    (tmp_path / 'tars').mkdir()
    for name in ('class0', 'class1'):
        with tarfile.open(tmp_path / f'tars/{name}.tar', 'w') as tar:
            for path in sorted((photos / name).iterdir()):
                tar.add(path, path.name)
    extract(photos, tmp_path / 'one', tokenizer, ['center'])
    extract_codes(
        tokenizer,
        image_source(str(tmp_path / 'tars'), 'shard'),
        tmp_path / 'other',
        parse_crops(['center'], 12),
        names=NAMES,
    )
    one, other = CodesStore(tmp_path / 'one'), CodesStore(tmp_path / 'other')
    assert [one.label(number) for number in range(6)] == [other.label(number) for number in range(6)]
    assert all(torch.equal(one.all_codes(number), other.all_codes(number)) for number in range(6))


def test_the_bundled_photos_are_ten_images_of_ten_classes():
    source = image_source('bundled')
    assert isinstance(source, PhotoParts)
    assert [source.label(number) for number in range(len(source))] == list(range(10))
    cut = ImageWindows(source, parse_crops(['center'], 64))[3]['windows'][0]
    photo = Image.fromarray(photo_parts(load_photos()[PHOTO_NAMES[3]], 'train')[0])
    assert torch.equal(cut, to_tensor(ADMCenterCrop(64)(photo, sample_rng(0, 0))))


def test_the_held_out_quarters_share_no_pixel_with_the_training_parts():
    source, training = image_source('bundled:eval'), image_source('bundled')
    assert [source.label(number) for number in range(len(source))] == list(range(10))
    assert source_digest(source) != source_digest(training), 'a store of one is not taken for one of the other'
    parts = [np.array(decode(images.data(2), 'apply')) for images in (training, source)]
    assert np.array_equal(np.concatenate(parts, axis=1), load_photos()[PHOTO_NAMES[2]])
    with pytest.raises(UserError, match=r"expected bundled \(training parts\) or bundled:eval .*, got 'bundled:test'"):
        image_source('bundled:test')


def test_an_extraction_that_was_stopped_goes_on(
    photos: Path, tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
):
    options = dict(shard_size=2, batch_size=20)
    extract(photos, tmp_path / 'straight', tokenizer, ['ten'], **options)
    write, said = library.CodesWriter.write, []

    def stopping(self, shard: int, *arguments) -> None:
        if shard == 1:
            raise KeyboardInterrupt
        write(self, shard, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(library.CodesWriter, 'write', stopping)
        with pytest.raises(KeyboardInterrupt):
            extract(photos, tmp_path / 'stopped', tokenizer, ['ten'], **options)
    monkeypatch.setattr(library.CodesWriter, 'write', lambda self, *a: (said.append(a[0]), write(self, *a))[0])
    extract(photos, tmp_path / 'stopped', tokenizer, ['ten'], **options, log=said.append)
    assert said == [f'{tmp_path}/stopped: 1 of 3 shards already done', 1, 2]
    assert_same_files(tmp_path / 'straight', tmp_path / 'stopped')


def assert_same_files(one: Path, other: Path) -> None:
    assert {p.name: p.read_bytes() for p in one.iterdir()} == {p.name: p.read_bytes() for p in other.iterdir()}


def test_images_that_were_exchanged_in_between_are_noticed(photos: Path, tmp_path: Path, tokenizer: Tokenizer):
    extract(photos, tmp_path / 'store', tokenizer, ['center'])
    extract(photos, tmp_path / 'store', tokenizer, ['center'])
    (photos / 'class0/0.png').rename(photos / 'class1/0.png')
    with pytest.raises(UserError, match=r'holds codes made otherwise .source_digest is'):
        extract(photos, tmp_path / 'store', tokenizer, ['center'])


@pytest.mark.parametrize('workers', [0, 2])
def test_unreadable_images_are_left_out_and_named(
    photos: Path, tmp_path: Path, tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture, workers: int
):
    broken = photos / 'class0/2.png'
    extract(photos, tmp_path / 'whole', tokenizer, ['center'])
    broken.write_bytes(broken.read_bytes()[:60])
    options = dict(num_workers=workers, batch_size=1, shard_size=1)
    manifest = extract(photos, tmp_path / 'store', tokenizer, ['center'], max_unreadable=0.2, **options)
    assert manifest.unreadable == (str(broken),)
    assert f'left out unreadable image {broken}' in caplog.text
    store, whole = CodesStore(tmp_path / 'store'), CodesStore(tmp_path / 'whole')
    for row, number in enumerate((0, 2, 3, 4, 5)):
        assert torch.equal(store.all_codes(row), whole.all_codes(number))
        assert store.label(row) == whole.label(number)
    with pytest.raises(UserError, match=r'1 of 6 images cannot be read, more than --max-unreadable 0.1 allows.*2.png'):
        extract(photos, tmp_path / 'strict', tokenizer, ['center'])


@pytest.mark.parametrize('workers', [0, 1])
def test_an_image_smaller_than_the_crop_is_named(photos: Path, tmp_path: Path, tokenizer: Tokenizer, workers: int):
    save(picture(16, 16), photos / 'class0/1.png')
    with pytest.raises(
        UserError, match=r'1.png: ADMCenterCrop: the image is 16x16, smaller than the 17x17 crop'
    ) as told:
        extract(photos, tmp_path / 'store', tokenizer, ['ten'], size=16, num_workers=workers)
    assert '\n' not in str(told.value)
    extract(photos, tmp_path / 'store', tokenizer, ['ten'], size=16, upsample=True)
    with Image.open(photos / 'class0/1.png') as image:
        window = ADMCenterCrop(17, upsample=True)(image.convert('RGB'), sample_rng(0, 0))
    wanted = encoded(tokenizer, list(TorchvisionTenCrop(16)(window)))
    assert torch.equal(CodesStore(tmp_path / 'store').all_codes(1), wanted)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(size=13), 'image sides must be multiples of 2, got 13x13'),
        (dict(batch_size=0), 'batch size 0 and shard size None must be 1 or more'),
        (dict(shard_size=0), 'shard size 0 must be 1 or more'),
        (dict(num_workers=-1), 'workers -1 0 or more'),
        (dict(precision='float8'), "precision must be one of float32, bfloat16, got 'float8'"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(
    photos: Path, tmp_path: Path, tokenizer: Tokenizer, options: dict, message: str
):
    with pytest.raises(UserError, match=message):
        extract(photos, tmp_path / 'store', tokenizer, ['center'], **options)
    assert not (tmp_path / 'store').exists()


def test_codes_that_depend_on_their_batch_are_refused(photos: Path, tmp_path: Path):
    transport = dict(type='OptimalTransport', at_inference=True)
    tokenizer = tiny_tokenizer(dict(type='VectorQuantizer', codebook_size=16, code_dim=8, distance=transport))
    with pytest.raises(UserError, match='codes of an image depend on its batch, and a store must be the same'):
        extract(photos, tmp_path / 'store', tokenizer, ['center'])
    assert not (tmp_path / 'store').exists()


def test_bfloat16_is_noted_and_changes_few_codes(photos: Path, tmp_path: Path, tokenizer: Tokenizer):
    exact = extract(photos, tmp_path / 'exact', tokenizer, ['center'])
    rough = extract(photos, tmp_path / 'rough', tokenizer, ['center'], precision='bfloat16')
    assert (exact.precision, rough.precision) == ('float32', 'bfloat16')
    one, other = CodesStore(tmp_path / 'exact'), CodesStore(tmp_path / 'rough')
    same = [(one.all_codes(n) == other.all_codes(n)).float().mean().item() for n in range(6)]
    assert np.mean(same) > 0.8


def test_an_encoder_that_breaks_half_way_leaves_no_finished_store_and_names_the_images(
    photos: Path, tmp_path: Path, tokenizer: Tokenizer
):
    calls: list[int] = []

    def break_the_fourth(module: object, inputs: object, output: Tensor) -> Tensor:
        calls.append(1)
        return output * float('nan') if len(calls) == 4 else output

    handle = tokenizer.encoder.register_forward_hook(break_the_fourth)
    options = dict(batch_size=1, shard_size=1)
    with pytest.raises(
        NonFiniteError, match=r'images from (.*class1/1.png) to \1: .*latents of image 0 are not finite'
    ):
        extract(photos, tmp_path / 'store', tokenizer, ['center'], **options)
    handle.remove()
    with pytest.raises(UserError, match='is unfinished'):
        CodesStore(tmp_path / 'store')
    extract(photos, tmp_path / 'store', tokenizer, ['center'], **options)
    extract(photos, tmp_path / 'whole', tokenizer, ['center'], **options)
    assert_same_files(tmp_path / 'store', tmp_path / 'whole')
