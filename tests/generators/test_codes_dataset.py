"""Codes as training data: the crop shown follows the position in the data order, and errors are one line."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from fvq_core.codes import CodeLayout, Grid
from fvq_core.data.loader import build_loader
from fvq_core.data.sample import UnreadableImages
from fvq_core.errors import UserError
from fvq_generators.codes_store import CodesWriter, Manifest
from fvq_generators.data.codes_dataset import CodesDataset

from .tiny import manifest_fields

LAYOUT, VIEWS, IMAGES = CodeLayout(Grid(1, 3), 1000), 5, 4


def make_store(root: Path, offset: int = 0, images: int = IMAGES, **changes: object) -> str:
    """The codes of a crop are (image, crop, offset); the label of an image is its number + 10."""
    planned = Manifest(**{**manifest_fields(VIEWS, images), 'layout': LAYOUT, **changes})
    codes = np.stack(np.broadcast_arrays(*np.ogrid[:images, :VIEWS, offset : offset + 1]), -1)[:, :, 0]
    codes[..., 2] = offset
    writer = CodesWriter(root, planned)
    for shard in writer.open():
        numbers = planned.shard_images(shard)
        writer.write(shard, codes[list(numbers)], numbers, [number + 10 for number in numbers])
    writer.finish(str, 0)
    writer.close()
    return str(root)


@pytest.fixture
def root(tmp_path: Path) -> str:
    return make_store(tmp_path / 'store')


def loader_config(root: str | list[str], **options: object) -> dict:
    return dict(dataset=dict(type='CodesDataset', root=root), batch_size=3, **options)


def test_an_item_is_one_crop_with_its_label_and_a_batch_stacks_them(root: str):
    dataset = CodesDataset(root)
    assert (len(dataset), dataset.layout, dataset.tokenizer_hash) == (IMAGES, LAYOUT, 'ab' * 32)
    item = dataset[(3, 0)]
    assert item['codes'].dtype == torch.int64
    assert (item['codes'][0], item['label']) == (3, 13)
    batch = CodesDataset.collate([dataset[(number, number)] for number in (2, 0)])
    assert batch['codes'].shape == (2, 3)
    assert (batch['codes'][:, 0].tolist(), batch['labels'].tolist()) == ([2, 0], [12, 10])
    assert (batch['labels'].dtype, batch['error']) == (torch.int64, None)


def test_a_data_set_ends_where_its_images_end(root: str):
    dataset = CodesDataset(root)
    for index in (-1, IMAGES, (-1, 0), (IMAGES, 0)):
        with pytest.raises(IndexError, match=f'has images 0 to {IMAGES - 1}, got'):
            dataset[index]
    assert [item['label'] for item in dataset] == [10, 11, 12, 13]


def test_the_crop_depends_only_on_seed_and_position(root: str):
    shown = [CodesDataset(root, seed=3)[(1, position)]['codes'][1].item() for position in range(60)]
    assert shown == [CodesDataset(root, seed=3)[(1, position)]['codes'][1].item() for position in range(60)]
    assert shown != [CodesDataset(root, seed=4)[(1, position)]['codes'][1].item() for position in range(60)]
    assert set(shown) == set(range(VIEWS))
    evaluated = CodesDataset(root)
    assert all(torch.equal(evaluated[number]['codes'], evaluated[number]['codes']) for number in range(IMAGES))


def test_every_crop_comes_up_equally_often_and_stores_are_mixed_half_and_half(tmp_path: Path):
    roots = [make_store(tmp_path / str(offset), offset) for offset in (7, 8)]
    dataset = CodesDataset(roots)
    counts = Counter(tuple(dataset[(0, position)]['codes'][1:].tolist()) for position in range(2000))
    assert set(counts) == {(view, offset) for view in range(VIEWS) for offset in (7, 8)}
    # Each of the ten has 200 +- 13 (one standard deviation of a binomial); five of them are a wide margin.
    assert all(abs(count - 200) < 5 * 13.4 for count in counts.values())


def take(root: str, count: int, start: int = 0, workers: int = 0) -> list[tuple[list, list]]:
    loader = build_loader(loader_config(root, num_workers=workers), seed=1, train=True)
    loader.sampler.start = start * 3
    return [(batch['codes'].tolist(), batch['labels'].tolist()) for batch in islice(loader, count)]


def test_training_resumes_anywhere_with_any_number_of_workers(root: str):
    whole = take(root, 12)
    assert take(root, 4, start=8) == whole[8:]
    assert take(root, 12, workers=2) == whole
    crops = [[code[1] for code in codes] for codes, _ in whole]
    assert len({tuple(row) for row in crops}) > 4, 'another crop of an image each epoch'


def test_an_evaluation_sees_every_image_once_in_order(root: str):
    batches = list(build_loader(loader_config(root), seed=1, train=False))
    assert torch.cat([batch['labels'] for batch in batches]).tolist() == [10, 11, 12, 13]
    counter = UnreadableImages(IMAGES, 0.1, None)
    assert all(counter.check(batch) for batch in batches)


@pytest.mark.parametrize('workers', [0, 1])
def test_codes_outside_the_vocabulary_end_the_run_in_one_line(root: str, workers: int):
    file = Path(root) / 'codes-00001.npy'
    codes = np.load(file)
    codes[:, :, 0] = 1000
    np.save(file, codes)
    counter = UnreadableImages(IMAGES, 0.1, None)
    batches = list(build_loader(loader_config(root, num_workers=workers), seed=1, train=False))
    assert counter.check(batches[0])
    with pytest.raises(UserError, match=r'codes-00001.npy, image 0: Grid: codes must lie in \[0, 1000\)') as told:
        counter.check(batches[-1])
    assert '\n' not in str(told.value)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(tokenizer_hash='ef' * 32), 'differ in tokenizer hash; mix stores of one tokenizer'),
        (dict(layout=CodeLayout(Grid(3, 1), 1000)), 'differ in layout'),
        (dict(images=5), 'have 4 and 5 images; mix stores of the same images'),
    ],
)
def test_stores_that_do_not_belong_together_are_refused(root: str, tmp_path: Path, changes: dict, message: str):
    other = make_store(tmp_path / 'other', **changes)
    with pytest.raises(UserError, match=message):
        CodesDataset([root, other])


def test_stores_with_other_labels_are_refused_where_they_differ(root: str, tmp_path: Path):
    other = Path(make_store(tmp_path / 'other'))
    np.save(other / 'labels.npy', np.array([10, 11, 12, 99]))
    dataset = CodesDataset([root, str(other)])
    errors = [dataset[(3, position)].get('error') for position in range(20)]
    assert any(error and 'image 3 has label 13 in' in error and '99 in' in error for error in errors)
    assert not any(dataset[(2, position)].get('error') for position in range(20))


def test_no_folder_and_no_store_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match='root names no folder'):
        CodesDataset([])
    with pytest.raises(UserError, match='is not a codes store'):
        CodesDataset(str(tmp_path / 'nowhere'))


def test_another_tokenizer_is_refused(root: str):
    dataset = CodesDataset(root)
    dataset.check_tokenizer('ab' * 32)
    with pytest.raises(UserError, match='made by tokenizer abababababab'):
        dataset.check_tokenizer('cd' * 32)


def test_llamagens_folders_are_a_data_set_too(tmp_path: Path):
    for kind, values in dict(codes=np.arange(6).reshape(1, 2, 3), labels=np.array([5])).items():
        (tmp_path / f'imagenet256_{kind}').mkdir()
        np.save(tmp_path / f'imagenet256_{kind}/0.npy', values)
    dataset = CodesDataset(str(tmp_path), layout=LAYOUT.to_dict(), tokenizer_hash='x')
    shown = {tuple(dataset[(0, position)]['codes'].tolist()) for position in range(20)}
    assert shown == {(0, 1, 2), (3, 4, 5)}
    assert (dataset[0]['label'], dataset.tokenizer_hash) == (5, 'x')
