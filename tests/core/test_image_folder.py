"""Images in folders: labels, formats, and files that cannot be read."""

from __future__ import annotations

import logging
import os
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fvq_core.data import BundledPhotos
from fvq_core.data.image_folder import ImageFolder
from fvq_core.data.loader import build_loader
from fvq_core.data.sample import UnreadableImages
from fvq_core.errors import UserError
from fvq_core.images import device_images
from fvq_generators.data import RandomCodes

from ..pictures import picture, save

CROP = (dict(type='ADMCenterCrop', size=8),)


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    """Two classes of three 8x8 images each, one of them in a nested folder, and a file that is not an image."""
    for seed, name in enumerate(('cat/a.png', 'cat/b.png', 'cat/more/c.png', 'dog/d.png', 'dog/e.PNG', 'dog/f.png')):
        save(picture(8, 8, seed), tmp_path / name)
    (tmp_path / 'dog' / 'notes.txt').write_text('no image')
    return tmp_path


def pixels(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(path).convert('RGB'))).permute(2, 0, 1)


def test_class_folders_number_the_labels_in_order_of_their_names(class_folders: Path):
    dataset = ImageFolder(str(class_folders))
    assert len(dataset) == 6
    assert [dataset[i]['label'] for i in range(6)] == [0, 0, 0, 1, 1, 1]
    assert torch.equal(dataset[2]['image'], pixels(class_folders / 'cat/more/c.png'))


def test_loop_over_a_data_set_ends(class_folders: Path):
    for dataset in (
        ImageFolder(str(class_folders)),
        BundledPhotos('eval', crop_size=8, crops=3),
        RandomCodes(dict(type='Grid', height=1, width=2, codebook_size=5), images=4, classes=2),
    ):
        assert len(list(islice(iter(dataset), 10))) == len(dataset)
        with pytest.raises(IndexError, match=f'there are {len(dataset)} samples, got index {len(dataset)}'):
            dataset[len(dataset), 0]


def test_flat_folder_gives_label_minus_one_in_order_of_names(tmp_path: Path):
    for seed, name in enumerate(('b.png', 'a.png')):
        save(picture(8, 8, seed), tmp_path / name)
    dataset = ImageFolder(str(tmp_path))
    assert [dataset[i]['label'] for i in range(len(dataset))] == [-1, -1]
    assert torch.equal(dataset[0]['image'], pixels(tmp_path / 'a.png'))


def test_list_file_gives_order_and_labels(class_folders: Path, tmp_path: Path):
    save(picture(8, 8, 9), class_folders / 'a file.png')
    listing = tmp_path / 'list.txt'
    listing.write_text('dog/d.png 7\ncat/a.png\n\na file.png\na file.png -1\n')
    dataset = ImageFolder(str(class_folders), list_file=str(listing))
    assert [dataset[i]['label'] for i in range(len(dataset))] == [7, -1, -1, -1]
    assert torch.equal(dataset[0]['image'], pixels(class_folders / 'dog/d.png'))
    assert torch.equal(dataset[2]['image'], pixels(class_folders / 'a file.png'))


@pytest.mark.parametrize('mode', ['L', 'RGBA', 'P', 'CMYK', '1', 'LA'])
def test_every_colour_mode_becomes_rgb(tmp_path: Path, mode: str):
    source = picture(8, 8).convert(mode)
    path = save(source, tmp_path / f'image.{"tif" if mode == "CMYK" else "png"}')
    image = ImageFolder(str(tmp_path))[0]['image']
    assert image.shape == (3, 8, 8)
    assert image.dtype == torch.uint8
    assert torch.equal(image, pixels(path))
    if mode in ('L', 'LA'):
        assert torch.equal(image[0], image[2])
    if mode == 'RGBA':
        assert torch.equal(image, torch.from_numpy(np.array(picture(8, 8))).permute(2, 0, 1))


def test_unreadable_training_image_is_named_and_its_readable_neighbour_takes_its_place(class_folders: Path):
    broken = class_folders / 'cat' / 'b.png'
    broken.write_bytes(broken.read_bytes()[:60])
    dataset = ImageFolder(str(class_folders), transforms=CROP)
    sample = dataset[(1, 0)]
    assert sample['unreadable'] == [str(broken)]
    assert torch.equal(sample['image'], pixels(class_folders / 'cat/more/c.png'))
    alone = dataset[1]
    assert alone['image'] is None
    assert alone['unreadable'] == [str(broken)]


def test_unreadable_image_leaves_the_evaluation_set_one_smaller_and_is_counted_once(
    class_folders: Path, caplog: pytest.LogCaptureFixture
):
    broken = class_folders / 'dog' / 'd.png'
    broken.write_bytes(b'this is no image')
    cfg = dict(dataset=dict(type='ImageFolder', root=str(class_folders), transforms=CROP), batch_size=2)
    counter = UnreadableImages(6, allowed=0.2, logger=logging.getLogger('test'))
    for _ in range(2):
        batches = [b for b in build_loader(cfg, seed=0, train=False) if counter.check(b)]
        assert sum(len(b['images']) for b in batches) == 5
        assert torch.cat([b['labels'] for b in batches]).tolist() == [0, 0, 0, 1, 1]
    assert counter.names == {str(broken)}
    assert caplog.text.count(f'skipped unreadable image {broken} (1 so far)') == 1


def test_too_many_unreadable_images_are_an_error(class_folders: Path):
    for name in ('a', 'b'):
        (class_folders / 'cat' / f'{name}.png').write_bytes(b'')
    cfg = dict(dataset=dict(type='ImageFolder', root=str(class_folders), transforms=CROP), batch_size=2)
    counter = UnreadableImages(6, allowed=0.2, logger=logging.getLogger('test'))
    with pytest.raises(UserError, match=r'2 of 6 images cannot be read, more than max_unreadable=0.2'):
        all(counter.check(batch) for batch in islice(build_loader(cfg, seed=0, train=True), 12))


def test_no_readable_image_at_all_ends_the_run_whatever_is_allowed(class_folders: Path):
    for image in [*class_folders.rglob('*.png'), class_folders / 'dog/e.PNG']:
        image.write_bytes(b'')
    cfg = dict(dataset=dict(type='ImageFolder', root=str(class_folders), transforms=CROP), batch_size=2)
    batches = build_loader(cfg, seed=0, train=True)
    counter = UnreadableImages(len(batches.dataset), allowed=1.0, logger=logging.getLogger('test'))
    with pytest.raises(UserError, match='none of 6 images can be read, the last is '):
        all(counter.check(batch) or True for batch in islice(batches, 12))


def test_image_smaller_than_the_crop_is_a_user_error_and_not_skipped(class_folders: Path):
    small = save(picture(5, 7), class_folders / 'cat' / 'small.png')
    cfg = dict(dataset=dict(type='ImageFolder', root=str(class_folders), transforms=CROP), batch_size=7)
    (batch,) = build_loader(cfg, seed=0, train=False)
    counter = UnreadableImages(7, allowed=1.0, logger=logging.getLogger('test'))
    with pytest.raises(UserError, match=f'{small}: ADMCenterCrop: the image is 5x7, smaller than the 8x8 crop'):
        counter.check(batch)


def test_images_of_different_sizes_in_a_batch_ask_for_a_crop(class_folders: Path):
    save(picture(9, 8), class_folders / 'cat' / 'wide.png')
    cfg = dict(dataset=dict(type='ImageFolder', root=str(class_folders)), batch_size=7)
    (batch,) = build_loader(cfg, seed=0, train=False)
    assert batch['images'] is None
    assert 'differ in size' in batch['error']


def test_random_crop_of_a_file_depends_on_its_position_in_the_data_order(tmp_path: Path):
    save(picture(40, 40), tmp_path / 'a.png')
    dataset = ImageFolder(str(tmp_path), transforms=[dict(type='ADMRandomCrop', size=8)], seed=3)
    assert torch.equal(dataset[(0, 5)]['image'], dataset[(0, 5)]['image'])
    assert not torch.equal(dataset[(0, 5)]['image'], dataset[(0, 6)]['image'])


def test_missing_folder_missing_list_and_empty_folder_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match='is not a folder'):
        ImageFolder(str(tmp_path / 'nowhere'))
    with pytest.raises(UserError, match=r'list file .* is not a file'):
        ImageFolder(str(tmp_path), list_file=str(tmp_path / 'list.txt'))
    with pytest.raises(UserError, match='no image'):
        ImageFolder(str(tmp_path))


@pytest.mark.parametrize('decoder', ['pil', 'auto'])
def test_flip_on_the_device_gives_the_images_of_a_flip_in_the_loader(tmp_path: Path, decoder: str):
    save(picture(40, 30), tmp_path / 'a.png')
    save(picture(30, 40), tmp_path / 'b.jpg')

    def batch(on_device: bool) -> dict:
        transforms = [dict(type='ADMRandomCrop', size=16), dict(type='HorizontalFlip', on_device=on_device)]
        dataset = dict(type='ImageFolder', root=str(tmp_path), transforms=transforms, decoder=decoder)
        return next(iter(build_loader(dict(dataset=dataset, batch_size=20), seed=2, train=True)))

    in_loader, on_device = batch(False), batch(True)
    assert not in_loader['flip'].any()
    assert 3 < on_device['flip'].sum() < 17
    assert not torch.equal(in_loader['images'], on_device['images'])
    assert torch.equal(device_images(in_loader, 'cpu'), device_images(on_device, 'cpu'))


def test_flip_on_the_device_must_come_last(tmp_path: Path):
    save(picture(8, 8), tmp_path / 'a.png')
    transforms = [dict(type='HorizontalFlip', on_device=True), *CROP]
    with pytest.raises(UserError, match='must be the last transform, got HorizontalFlip, ADMCenterCrop'):
        ImageFolder(str(tmp_path), transforms)


def test_batches_are_the_same_for_any_number_of_workers_and_resume_anywhere(class_folders: Path):
    transforms = [dict(type='ADMRandomCrop', size=4), dict(type='HorizontalFlip', on_device=True)]
    dataset = dict(type='ImageFolder', root=str(class_folders), transforms=transforms, decoder='auto')

    def batches(workers: int, start: int, count: int) -> list[dict]:
        cfg = dict(dataset=dataset, batch_size=4, num_workers=workers, prefetch_factor=3, pin_memory=True)
        loader = build_loader(cfg, seed=5, train=True)
        loader.sampler.start = start
        return list(islice(loader, count))

    for workers, start in ((0, 0), (2, 0), (1, 12)):
        expected = batches(0, 0, 6)[start // 4 :]
        for one, other in zip(expected, batches(workers, start, 6 - start // 4), strict=True):
            assert all(torch.equal(one[key], other[key]) for key in ('images', 'labels', 'flip'))


def test_names_of_any_encoding_survive(tmp_path: Path):
    names = ['häßlich.png', os.fsdecode(b'latin-\xe4.png'), 'plain.png']
    for name in names:
        picture(8, 8).save(os.fsencode(tmp_path / name), format='PNG')
    dataset = ImageFolder(str(tmp_path))
    assert {os.path.basename(dataset.name(i)) for i in range(3)} == set(names)
    assert all(dataset[i]['image'] is not None for i in range(3))


def test_an_error_of_a_transform_is_not_an_unreadable_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save(picture(8, 8), tmp_path / 'a.png')
    dataset = ImageFolder(str(tmp_path), transforms=CROP)

    def complain(*arguments: object) -> None:
        raise UserError('not with me')

    monkeypatch.setattr(dataset, 'transforms', [complain])
    sample = dataset[(0, 0)]
    assert sample['unreadable'] == []
    assert sample['error'] == f'{tmp_path / "a.png"}: not with me'
