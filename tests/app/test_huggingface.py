"""Data sets of Hugging Face: made here as Parquet and Arrow files, read by row and as a stream, never running code."""

from __future__ import annotations

import io
import logging
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from fvq_core.data.image_folder import ImageFolder
from fvq_core.data.loader import build_loader
from fvq_core.data.sample import UnreadableImages
from fvq_core.errors import UserError
from fvq_core.registry import DATASETS

from ..pictures import picture
from .shard_server import encoded, serve

datasets = pytest.importorskip('datasets', reason='needs the extra fvq[data]')

import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

import fvq.remote_data  # noqa: E402, F401

FILES, ROWS, BATCH = 4, 6, 3
ALL = FILES * ROWS
CROP = [dict(type='ADMRandomCrop', size=8), dict(type='HorizontalFlip')]


@pytest.fixture(autouse=True)
def own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test writes to the user's caches, or asks the hub."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr(datasets.config, 'HF_DATASETS_CACHE', tmp_path / 'hf')
    monkeypatch.setattr(datasets.config, 'HF_HUB_OFFLINE', True)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Four Parquet files of six pictures of 12x10; `label` counts them through."""
    folder = tmp_path / 'parquet'
    folder.mkdir()
    for file in range(FILES):
        numbers = range(ROWS * file, ROWS * (file + 1))
        rows(numbers).to_parquet(folder / f'{file}.parquet')
    return folder


def rows(numbers: range, **columns: list[Any]) -> Any:
    images = [{'bytes': encoded(picture(12, 10, number)), 'path': None} for number in numbers]
    table = {'image': images, 'label': list(numbers), 'text': [f'number {number}' for number in numbers], **columns}
    return datasets.Dataset.from_dict(table).cast_column('image', datasets.Image())


def config(files: Path, kind: str = 'HuggingFaceImages', **changes: Any) -> dict[str, Any]:
    parquet = dict(type=kind, path='parquet', data_files=str(files / '*.parquet'), label='label', transforms=CROP)
    return (parquet | (dict(length=ALL, lanes=2, shuffle_block=3) if kind.endswith('Stream') else {})) | changes


def batches(dataset: dict[str, Any], count: int, start: int = 0, workers: int = 0) -> list[dict[str, Any]]:
    loader = build_loader(dict(dataset=dataset, batch_size=BATCH, num_workers=workers), seed=1, train=True)
    loader.sampler.start = start * BATCH
    return list(islice(loader, count))


def alike(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(torch.equal(a['images'], b['images']) and torch.equal(a['labels'], b['labels']) for a, b in pairs)


def labels(found: list[dict[str, Any]]) -> list[int]:
    return torch.cat([batch['labels'] for batch in found]).tolist()


def test_rows_give_the_images_of_a_folder_in_the_same_order(files: Path, tmp_path: Path) -> None:
    for number in range(ALL):
        (tmp_path / 'folder').mkdir(exist_ok=True)
        picture(12, 10, number).save(tmp_path / 'folder' / f'{number:04d}.png')
    found = batches(config(files), 12)
    folder = batches(dict(type='ImageFolder', root=str(tmp_path / 'folder'), transforms=CROP), 12)
    assert all(torch.equal(one['images'], other['images']) for one, other in zip(found, folder, strict=True))
    assert sorted(labels(found)[:ALL]) == list(range(ALL))


def test_arrow_files_and_saved_folders_give_the_same_rows(files: Path, tmp_path: Path) -> None:
    whole = rows(range(ALL))
    whole.save_to_disk(str(tmp_path / 'saved'))
    datasets.DatasetDict(train=whole).save_to_disk(str(tmp_path / 'dict'))
    arrow = str(next((tmp_path / 'saved').glob('*.arrow')))
    expected = batches(config(files), 4)
    assert alike(expected, batches(config(files, path='arrow', data_files=arrow), 4))
    for name in ('saved', 'dict'):
        assert alike(expected, batches(config(files, path=str(tmp_path / name), data_files=None), 4))


@pytest.mark.processes
@pytest.mark.parametrize('kind', ['HuggingFaceImages', 'HuggingFaceStream'])
def test_batches_are_the_same_for_any_number_of_workers_and_start(files: Path, kind: str) -> None:
    alone = batches(config(files, kind), 12)
    assert alike(alone, batches(config(files, kind), 12, workers=2))
    assert alike(alone[5:], batches(config(files, kind), 7, start=5))


def test_a_stream_has_every_row_once_an_epoch_and_in_order_for_evaluation(files: Path) -> None:
    found = labels(batches(config(files, 'HuggingFaceStream'), 2 * ALL // BATCH))
    assert sorted(found[:ALL]) == sorted(found[ALL:]) == list(range(ALL))
    assert found[:ALL] != found[ALL:]
    loader = build_loader(dict(dataset=config(files, 'HuggingFaceStream'), batch_size=5), seed=0, train=False)
    assert labels(list(loader)) == list(range(ALL))


def test_a_resumed_stream_starts_from_the_state_of_the_library_and_without_it_gives_the_same(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = batches(config(files, 'HuggingFaceStream'), 20)
    states = []
    load = datasets.IterableDataset.load_state_dict
    monkeypatch.setattr(
        datasets.IterableDataset, 'load_state_dict', lambda self, state: (states.append(state), load(self, state))[1]
    )
    assert alike(whole[15:], batches(config(files, 'HuggingFaceStream'), 5, start=15))
    assert states, 'the run started from the beginning'
    for kept in (tmp_path / 'cache').rglob(
        '*.jsonl'
    ):  # a place that the library cannot use saves nothing, and harms nothing
        kept.write_text(kept.read_text().replace('shard_example_idx', 'renamed'))
    assert alike(whole[15:], batches(config(files, 'HuggingFaceStream'), 5, start=15))
    states.clear()
    fresh = config(files, 'HuggingFaceStream', places_dir=str(tmp_path / 'none'))
    assert alike(whole[15:], batches(fresh, 5, start=15))
    assert not states


def test_a_stream_over_http_is_the_one_of_the_files(files: Path) -> None:
    expected = batches(config(files, 'HuggingFaceStream'), 6)
    with serve() as server:
        server.files = {path.name: path.read_bytes() for path in files.iterdir()}
        urls = [f'{server.url}/{number}.parquet' for number in range(FILES)]
        assert alike(expected, batches(config(files, 'HuggingFaceStream', data_files=urls), 6))


def test_columns_may_be_plain_bytes_and_have_other_names(files: Path, tmp_path: Path) -> None:
    table = {'jpeg': [encoded(picture(12, 10, number)) for number in range(ALL)], 'class': list(range(ALL))}
    datasets.Dataset.from_dict(table).to_parquet(tmp_path / 'bytes.parquet')
    renamed = config(files, data_files=str(tmp_path / 'bytes.parquet'), image='jpeg', label='class')
    assert alike(batches(config(files), 4), batches(renamed, 4))
    assert set(labels(batches(renamed | dict(label=None), 2))) == {-1}


@pytest.mark.parametrize('kind', ['HuggingFaceImages', 'HuggingFaceStream'])
@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(image='imgae'), r"has no column 'imgae'; did you mean 'image'\?"),
        (dict(image='text'), "column 'text' of parquet holds Value.*expected images or their bytes"),
        (dict(label='lable'), r"has no column 'lable'; did you mean 'label'\?"),
        (dict(split='valid'), r'cannot be opened: .*valid'),
        (dict(data_files='/none/*.parquet'), r'parquet \(.*/none/.*cannot be opened: '),
        (dict(path='no/such', data_files=None), 'no/such cannot be opened: '),
    ],
)
def test_what_is_not_there_is_named_in_one_line(files: Path, kind: str, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=rf'^{kind}: .*{words}') as raised:
        DATASETS.build(config(files, kind, **changes), seed=0)
    assert '\n' not in str(raised.value)


@pytest.mark.parametrize('kind', ['HuggingFaceImages', 'HuggingFaceStream'])
def test_labels_that_are_no_numbers_are_refused(files: Path, kind: str) -> None:
    try:
        error = DATASETS.build(config(files, kind, label='text'), seed=0)[0]['error']
    except UserError as raised:  # a table looks at its labels at once
        error = str(raised)
    assert "column 'text' holds 'number 0', expected whole numbers" in error


def test_rows_without_bytes_and_broken_ones_are_unreadable_and_no_path_is_followed(tmp_path: Path) -> None:
    secret = tmp_path / 'secret.png'
    picture(12, 10).save(secret)
    images = [
        {'bytes': encoded(picture(12, 10)), 'path': None},
        {'bytes': None, 'path': str(secret)},
        {'bytes': None, 'path': 'https://host/x.png'},
        None,
        {'bytes': b'broken', 'path': None},
    ]
    struct = pa.struct([('bytes', pa.binary()), ('path', pa.string())])
    pq.write_table(pa.table({'image': pa.array(images, struct)}), tmp_path / 'x.parquet')
    crop = [dict(type='ADMCenterCrop', size=8)]
    for kind in ('HuggingFaceImages', 'HuggingFaceStream'):
        only = dict(type=kind, path='parquet', data_files=str(tmp_path / 'x.parquet'), transforms=crop)
        only |= dict(length=5) if kind.endswith('Stream') else {}
        batch = next(iter(build_loader(dict(dataset=only, batch_size=5), seed=0, train=False)))
        assert len(batch['images']) == 1
        assert len(batch['unreadable']) == 4
        assert f'the row names the file {secret} and does not hold it' in batch['reasons'][0]
        assert batch['reasons'][2] == 'the row has no image'
        with pytest.raises(UserError, match='4 of 5 images cannot be read'):
            UnreadableImages(5, 0.1, logging.getLogger('fvq')).check(batch)


def test_a_loading_script_does_not_run(tmp_path: Path) -> None:
    (tmp_path / 'evil').mkdir()
    script = f'import pathlib\npathlib.Path({str(tmp_path / "ran")!r}).touch()\n'
    (tmp_path / 'evil' / 'evil.py').write_text(script)
    for path in (str(tmp_path / 'evil'), str(tmp_path / 'evil' / 'evil.py')):
        for kind in ('HuggingFaceImages', 'HuggingFaceStream'):
            with pytest.raises(UserError, match='cannot be opened'):
                DATASETS.build(dict(type=kind, path=path), seed=0)
    assert not (tmp_path / 'ran').exists()


def test_the_image_formats_of_folders_are_those_of_rows(tmp_path: Path) -> None:
    cases = {kind: encoded(picture(12, 10), kind) for kind in ('JPEG', 'PNG', 'WEBP', 'AVIF', 'TIFF')}
    cases['CMYK'] = encoded(picture(12, 10).convert('CMYK'), 'JPEG')
    exif = Image.Exif()
    exif[274] = 6
    stream = io.BytesIO()
    picture(12, 10).save(stream, 'JPEG', exif=exif)
    cases['turned'] = stream.getvalue()
    folder = tmp_path / 'folder'
    folder.mkdir()
    for number, data in enumerate(cases.values()):
        (folder / f'{number}.jpg').write_bytes(data)
    images = [{'bytes': data, 'path': None} for data in cases.values()]
    datasets.Dataset.from_dict({'image': images}).to_parquet(tmp_path / 'x.parquet')
    table = DATASETS.build(
        dict(type='HuggingFaceImages', path='parquet', data_files=str(tmp_path / 'x.parquet')), seed=0
    )
    files = ImageFolder(str(folder))
    for number, kind in enumerate(cases):
        assert torch.equal(table[number]['image'], files[number]['image']), kind


def test_the_length_of_a_stream_that_does_not_know_it_must_be_given(files: Path) -> None:
    with pytest.raises(UserError, match='HuggingFaceStream: length is missing'):
        DATASETS.build(config(files, 'HuggingFaceStream', length=None), seed=0)
