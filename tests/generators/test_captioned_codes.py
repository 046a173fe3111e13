"""Codes with captions: each image with its own features, as released where a file cannot be used, and resumed exactly."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fvq_core.data.loader import build_loader
from fvq_core.data.sample import UnreadableImages
from fvq_core.data.transforms import ADMCenterCrop
from fvq_core.errors import UserError
from fvq_generators.codes_store import CodesStore
from fvq_generators.data.captioned_codes import CaptionedCodes
from fvq_generators.data.random_captioned_codes import RandomCaptionedCodes
from fvq_generators.extraction.extract_codes import extract_codes
from fvq_generators.extraction.images import image_source
from fvq_generators.extraction.multi_crop import SeparateCrops

from ..pictures import picture, save
from ..tiny import tiny_tokenizer
from .test_codes_dataset import IMAGES, LAYOUT, make_store

T, C = 4, 3


class Log:
    """The lines of a logger."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, line: str) -> None:
        self.lines.append(line)


def write(path: Path, length: int = 2, start: float = 0.0, **options: Any) -> np.ndarray:
    """Features (1, n, C) that count up."""
    path.parent.mkdir(parents=True, exist_ok=True)
    features = (start + np.arange(length * C).reshape(1, length, C)).astype(options.get('dtype', np.float32))
    np.save(path, features)
    return features


@pytest.fixture
def root(tmp_path: Path) -> str:
    """Four images with captions of 1 to 4 vectors, which start at 100 times the image's number."""
    for image in range(IMAGES):
        write(tmp_path / 't5' / f'{image}.npy', image + 1, 100 * image)
    return make_store(tmp_path / 'store')


def captioned(root: str, **options: Any) -> CaptionedCodes:
    folder = str(Path(root).parent / 't5')
    return CaptionedCodes(root, **{**dict(captions=folder, tokens=T, channels=C), **options})


def test_a_caption_is_at_the_end_and_the_mask_marks_it(root: str):
    dataset = captioned(root)
    batch = CaptionedCodes.collate([dataset[(image, image)] for image in (2, 0)])
    assert batch['codes'][:, 0].tolist() == [2, 0]
    assert batch['caption_mask'].tolist() == [[False, True, True, True], [False, False, False, True]]
    expected = torch.zeros(2, T, C)
    expected[0, 1:] = 200 + torch.arange(9.0).reshape(3, 3)
    expected[1, 3:] = torch.arange(3.0)
    assert torch.equal(batch['captions'], expected)
    assert batch['captions'].dtype == torch.float32
    assert (batch['valid'].tolist(), batch['labels'].tolist()) == ([1, 1], [12, 10])
    assert (batch['unreadable'], batch['error']) == ([], None)
    assert (dataset.layout, dataset.tokenizer_hash) == (LAYOUT, 'ab' * 32)


def test_of_a_longer_caption_the_first_vectors_are_kept(root: str):
    features = write(Path(root).parent / 't5/1.npy', 7)
    item = captioned(root)[1]
    assert torch.equal(item['captions'], torch.from_numpy(features[0, :T]))
    assert item['caption_mask'].all()


@pytest.mark.parametrize('dtype', [np.float16, np.float64, '>f4'])
def test_any_float_and_files_without_the_leading_one_are_read(root: str, dtype: Any):
    path = Path(root).parent / 't5/1.npy'
    features = write(path, 2, dtype=dtype)
    expected = captioned(root)[1]['captions']
    assert torch.equal(expected[2:], torch.arange(6.0).reshape(2, 3))
    np.save(path, np.asfortranarray(features[0]))
    assert torch.equal(captioned(root)[1]['captions'], expected)


def damage(kind: str, path: Path) -> None:
    data = path.read_bytes()
    if kind == 'missing':
        path.unlink()
    elif kind == 'cut short':
        path.write_bytes(data[:-4])
    elif kind == 'no header':
        path.write_bytes(data[:9])
    elif kind == 'header of junk':  # numpy's parser raises another error than for other junk
        path.write_bytes(data.replace(b'{', b'(', 1))
    elif kind == 'of no bytes':
        path.write_bytes(b'')
    elif kind == 'pickled':
        np.save(path, np.array([[[None] * C]]), allow_pickle=True)
    elif kind == 'an archive':
        with path.open('wb') as file:
            np.savez(file, features=np.zeros((1, 2, C)))
    elif kind == 'without a vector':
        write(path, 0)
    elif kind == 'not finite':
        np.save(path, np.array([[[0.0, np.nan, 1.0]]], dtype=np.float32))


@pytest.mark.parametrize(
    ('kind', 'reason'),
    [
        ('missing', 'caption missing'),
        ('cut short', 'caption unreadable'),
        ('no header', 'caption unreadable'),
        ('header of junk', 'caption unreadable'),
        ('of no bytes', 'caption unreadable'),
        ('pickled', 'caption unreadable'),
        ('an archive', 'caption unreadable'),
        ('without a vector', 'caption empty'),
        ('not finite', 'caption not finite'),
    ],
)
def test_an_image_without_a_usable_caption_counts_nothing_and_is_counted(root: str, kind: str, reason: str):
    path = Path(root).parent / 't5/2.npy'
    damage(kind, path)
    config = dict(type='CaptionedCodes', root=root, captions=str(path.parent), tokens=T, channels=C)
    log = Log()
    counter = UnreadableImages(IMAGES, 0.3, log)
    for workers in (0, 1):
        (batch,) = build_loader(dict(dataset=config, batch_size=4, num_workers=workers), seed=1, train=False)
        assert counter.check(batch), 'the batch is trained on'
        assert batch['valid'].tolist() == [1, 1, 0, 1]
        assert batch['codes'][:, 0].tolist() == [0, 1, 2, 3]
        assert not batch['captions'][2].any()
    assert len(log.lines) == 1, 'once a file'
    assert str(path) in log.lines[0]
    assert reason in log.lines[0]
    assert '\n' not in log.lines[0]
    with pytest.raises(UserError, match=r'1 of 4 images cannot be read, more than max_unreadable=0.2'):
        UnreadableImages(IMAGES, 0.2, Log()).check(batch)


@pytest.mark.parametrize(
    'features', [np.zeros((1, 2, C + 1), np.float32), np.zeros((2, 2, C), np.float32), np.zeros((1, 2, C), np.int64)]
)
@pytest.mark.parametrize('workers', [0, 1])
def test_features_of_another_model_end_the_run_in_one_line(root: str, features: np.ndarray, workers: int):
    path = Path(root).parent / 't5/0.npy'
    np.save(path, features)
    config = dict(type='CaptionedCodes', root=root, captions=str(path.parent), tokens=T, channels=C)
    (batch,) = build_loader(dict(dataset=config, batch_size=4, num_workers=workers), seed=1, train=False)
    with pytest.raises(
        UserError, match=rf'0.npy holds .* expected floats of shape \(1, n, {C}\); set channels'
    ) as told:
        UnreadableImages(IMAGES, 1.0, Log()).check(batch)
    assert '\n' not in str(told.value)


def test_damaged_codes_end_the_run_too(root: str):
    file = Path(root) / 'codes-00000.npy'
    np.save(file, np.full_like(np.load(file), 1000))
    dataset = captioned(root)
    batch = CaptionedCodes.collate([dataset[0], dataset[1]])
    with pytest.raises(UserError, match=r'codes must lie in \[0, 1000\)'):
        UnreadableImages(IMAGES, 1.0, Log()).check(batch)


def take(root: str, count: int, start: int = 0, workers: int = 0) -> list[list]:
    folder = Path(root).parent
    dataset = dict(type='CaptionedCodes', root=root, captions=str(folder / 't5'), short_captions=str(folder / 'short'))
    config = dict(dataset=dict(**dataset, tokens=T, channels=C), batch_size=3, num_workers=workers)
    loader = build_loader(config, seed=1, train=True)
    loader.sampler.start = start * 3
    return [[batch[key].tolist() for key in ('codes', 'captions', 'valid')] for batch in islice(loader, count)]


def test_training_resumes_anywhere_with_any_number_of_workers(root: str):
    for image in range(IMAGES):
        write(Path(root).parent / 'short' / f'{image}.npy', 1, 100 * image + 50)
    whole = take(root, 12)
    assert take(root, 4, start=8) == whole[8:]
    assert take(root, 12, workers=2) == whole


def test_the_short_caption_comes_up_as_often_as_asked_and_never_another_images(root: str):
    for image in range(IMAGES):
        write(Path(root).parent / 'short' / f'{image}.npy', 1, 100 * image + 50)
    dataset = captioned(root, short_captions=str(Path(root).parent / 'short'))
    ends = Counter(dataset[(1, position)]['captions'][-1].tolist()[0] for position in range(1000))
    assert set(ends) == {150, 103}  # the short one's first vector, the long one's second
    assert abs(ends[150] - 300) < 5 * 14.5  # a binomial's standard deviation
    without = captioned(root)
    assert all(torch.equal(dataset[(1, p)]['codes'], without[(1, p)]['codes']) for p in range(50)), 'crops stay'


def test_a_folder_without_any_of_these_captions_is_refused_at_once(root: str, tmp_path: Path):
    with pytest.raises(
        UserError, match=r'nowhere has no caption for any of 4 images, the first would be .*nowhere/0.npy'
    ):
        captioned(root, captions=str(tmp_path / 'nowhere'))
    with pytest.raises(UserError, match='short has no caption'):
        captioned(root, short_captions=str(tmp_path / 'short'))
    with pytest.raises(UserError, match=r'short_share 1.5 a share from 0 to 1'):
        captioned(root, short_share=1.5)


@pytest.fixture(scope='module')
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images in two folders, one of them damaged, and features that say which image they belong to."""
    folder = tmp_path_factory.mktemp('pictures')
    for number in range(12):
        name = f'{"cats" if number < 6 else "dogs"}/{number}'
        save(picture(8, 8, number), folder / 'images' / f'{name}.jpg')
        write(folder / 't5' / f'{name}.npy', 1, number)
    return folder


def extract(pictures: Path, out: Path) -> CodesStore:
    source = image_source(str(pictures / 'images'))
    names = dict(tokenizer='tiny', source=str(pictures / 'images'))
    crop = SeparateCrops(ADMCenterCrop(8))
    extract_codes(tiny_tokenizer(), source, out, crop, names=names, max_unreadable=0.2, log=lambda line: None)
    return CodesStore(out)


def belongs(dataset: CaptionedCodes) -> list[int]:
    """The number in the features of each image."""
    return [int(dataset[image]['captions'][-1, 0]) for image in range(len(dataset))]


def test_captions_named_like_their_images_follow_the_order_of_extraction(pictures: Path, tmp_path: Path):
    store = extract(pictures, tmp_path / 'codes')
    sorted_names = [0, 1, 2, 3, 4, 5, 10, 11, 6, 7, 8, 9]  # 10.jpg comes before 6.jpg
    root, images = str(store.root), str(pictures / 'images')
    dataset = CaptionedCodes(root, str(pictures / 't5'), images=images, tokens=T, channels=C)
    assert belongs(dataset) == sorted_names
    with pytest.raises(UserError, match='has no caption for any of 12 images'):
        CaptionedCodes(root, str(pictures / 't5'), tokens=T, channels=C)
    with pytest.raises(UserError, match=r'the 6 images in .*cats are not the 12'):
        CaptionedCodes(root, str(pictures / 't5'), images=f'{images}/cats', tokens=T, channels=C)


def test_images_without_codes_shift_no_caption(pictures: Path, tmp_path: Path):
    moved = tmp_path / 'moved'
    damaged = [pictures / 'images/cats/2.jpg', pictures / 'images/dogs/6.jpg']
    whole = [path.read_bytes() for path in damaged]
    for path in damaged:
        path.write_bytes(b'not an image')
    store = extract(pictures, tmp_path / 'codes')
    assert len(store) == 10
    with pytest.raises(UserError, match=r"left out 2 unreadable images .*cats/2.jpg.* add images='FOLDER'"):
        CaptionedCodes(str(store.root), str(pictures / 't5'), tokens=T, channels=C)
    (pictures / 'images').rename(moved)  # the manifest has the paths of then
    dataset = CaptionedCodes(str(store.root), str(pictures / 't5'), images=str(moved), tokens=T, channels=C)
    assert belongs(dataset) == [0, 1, 3, 4, 5, 10, 11, 7, 8, 9]
    moved.rename(pictures / 'images')
    for path, data in zip(damaged, whole, strict=True):
        path.write_bytes(data)


def test_images_in_tars_have_their_captions_in_a_folder_a_tar(pictures: Path, tmp_path: Path):
    import tarfile

    (tmp_path / 'tars').mkdir()
    for number, folder in enumerate(('dogs', 'cats')):
        with tarfile.open(tmp_path / f'tars/a:b {number}.tar', 'w') as tar:
            for path in sorted((pictures / 'images' / folder).iterdir()):
                tar.add(path, arcname=path.name)
                write(tmp_path / f't5/a:b {number}/{path.stem}.npy', 1, int(path.stem))
    source = image_source(str(tmp_path / 'tars'), 'shard')
    extract_codes(tiny_tokenizer(), source, tmp_path / 'codes', SeparateCrops(ADMCenterCrop(8)),
                  names=dict(tokenizer='tiny', source='tars'), log=lambda line: None)  # fmt: skip
    options = dict(images=str(tmp_path / 'tars'), tar_labels='shard', tokens=T, channels=C)
    dataset = CaptionedCodes(str(tmp_path / 'codes'), str(tmp_path / 't5'), **options)
    labels = [dataset[image]['label'] for image in range(12)]
    assert sorted(belongs(dataset)) == list(range(12))
    assert [number < 6 for number in belongs(dataset)] == [label == 1 for label in labels]


def test_llamagens_folders_of_codes_take_numbered_captions(tmp_path: Path):
    for kind, values in dict(codes=np.arange(6).reshape(1, 2, 3), labels=np.array([5])).items():
        (tmp_path / f'laion256_{kind}').mkdir()
        np.save(tmp_path / f'laion256_{kind}/0.npy', values)
    write(tmp_path / 't5/0.npy', 2, 7)
    options: dict[str, Any] = dict(layout=LAYOUT.to_dict(), tokenizer_hash='x', tokens=T, channels=C)
    dataset = CaptionedCodes(str(tmp_path), str(tmp_path / 't5'), **options)
    assert dataset[0]['captions'][2, 0] == 7
    with pytest.raises(UserError, match='does not tell which images its codes are of'):
        CaptionedCodes(str(tmp_path), str(tmp_path / 't5'), images='bundled', **options)


def test_random_captions_have_every_length_and_some_images_none():
    dataset = RandomCaptionedCodes(dict(type='Grid', height=2, width=2, codebook_size=8), tokens=T, channels=C)
    items = [dataset[number] for number in range(8)]
    assert [int(item['caption_mask'].sum()) for item in items[:4]] == [1, 2, 3, 4]
    assert [item['valid'] for item in items] == [1] * 7 + [0]
    assert torch.equal(dataset[(5, 3)]['captions'], items[5]['captions'])
    assert not items[0]['captions'][:3].any()
    shrunk = CaptionedCodes.smoke(dict(type='CaptionedCodes', root='r', captions='c', channels=C))
    assert (shrunk['type'], shrunk['channels'], 'root' in shrunk) == ('RandomCaptionedCodes', C, False)
