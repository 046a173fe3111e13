"""Tar shards: what a folder of the same images gives, indexed once, and never a silent loss."""

from __future__ import annotations

import io
import logging
import os
import pickle
import tarfile
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from fvq_core.data import tar_index, tar_shards
from fvq_core.data.image_folder import ImageFolder
from fvq_core.data.loader import build_loader
from fvq_core.data.sample import UnreadableImages
from fvq_core.data.tar_index import scan_shard, split_member
from fvq_core.data.tar_shards import TarShards, expand_braces, find_shards
from fvq_core.errors import UserError

from ..pictures import picture

CROP = (dict(type='ADMRandomCrop', size=8), dict(type='HorizontalFlip'))


def encoded(image: Image.Image, kind: str = 'PNG') -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def write_tar(path: Path, members: dict[str, bytes], format: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, 'w', format=format) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test writes to the user's own cache."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'fvq' / 'tar_index'


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Three shards of four 12x10 images, labels 0 to 11, and the same files in a folder."""
    for shard in range(3):
        members = {}
        for number in range(4 * shard, 4 * shard + 4):
            members[f'{number:04d}.png'] = encoded(picture(12, 10, number))
            members[f'{number:04d}.cls'] = f'{number}\n'.encode()
            (tmp_path / 'folder').mkdir(exist_ok=True)
            (tmp_path / 'folder' / f'{number:04d}.png').write_bytes(members[f'{number:04d}.png'])
        write_tar(tmp_path / 'shards' / f'train-{shard:06d}.tar', members)
    return tmp_path / 'shards'


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the shards that were scanned."""
    seen: list[str] = []
    monkeypatch.setattr(tar_index, 'scan_shard', lambda path: seen.append(Path(path).name) or scan_shard(path))
    return seen


def same(one: Any, other: Any) -> bool:
    return torch.equal(one['image'], other['image'])


def test_shards_give_the_images_of_the_folder_they_were_made_of(shards: Path):
    tars = TarShards(str(shards), CROP, seed=3)
    folder = ImageFolder(str(shards.parent / 'folder'), CROP, seed=3)
    assert len(tars) == len(folder) == 12
    assert all(same(tars[(i, 7 * i)], folder[(i, 7 * i)]) for i in range(12))
    assert [tars[i]['label'] for i in range(12)] == list(range(12))


def test_training_batches_are_the_same_for_any_number_of_workers_and_start(shards: Path):
    def batches(workers: int, start: int) -> list[torch.Tensor]:
        cfg = dict(
            dataset=dict(type='TarShards', shards=str(shards), transforms=CROP), batch_size=5, num_workers=workers
        )
        loader = build_loader(cfg, seed=1, train=True)
        loader.sampler.start = start
        return [batch['images'] for batch in islice(loader, 4)]

    alone, shared, late = batches(0, 0), batches(2, 0), batches(0, 10)
    assert all(torch.equal(one, other) for one, other in zip(alone, shared, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(alone[2:], late[:2], strict=True))


def test_pickled_dataset_reads_on_and_carries_no_open_file(shards: Path):
    dataset = TarShards(str(shards), CROP)
    before = dataset[(5, 5)]
    assert dataset.files.descriptors
    again = pickle.loads(pickle.dumps(dataset))  # what a spawned worker gets
    assert not again.files.descriptors
    assert same(again[(5, 5)], before)


def test_few_files_stay_open_and_every_image_is_right(shards: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tar_shards, 'MAX_OPEN_FILES', 2)
    folder, opened = ImageFolder(str(shards.parent / 'folder')), len(os.listdir('/proc/self/fd'))
    dataset = TarShards(str(shards))
    for i in (0, 4, 8, 1, 5, 9, 2, 2, 11):
        assert same(dataset[i], folder[i])
        assert len(os.listdir('/proc/self/fd')) <= opened + 2
    del dataset
    assert len(os.listdir('/proc/self/fd')) == opened


def test_index_is_scanned_once_and_again_after_a_shard_changed(shards: Path, scans: list[str]):
    assert len(TarShards(str(shards))) == 12
    assert len(scans) == 3
    assert [TarShards(str(shards))[i]['label'] for i in range(12)] == list(range(12))
    assert len(scans) == 3
    write_tar(shards / 'train-000001.tar', {'x.png': encoded(picture(9, 9)), 'x.cls': b'70'})
    changed = TarShards(str(shards))
    assert scans[3:] == ['train-000001.tar']
    assert [changed[i]['label'] for i in range(len(changed))] == [0, 1, 2, 3, 70, 8, 9, 10, 11]


def test_broken_cache_is_replaced(shards: Path, scans: list[str], cache: Path):
    TarShards(str(shards))
    kept = sorted(cache.iterdir())
    assert [path.suffix for path in kept] == ['.npz'] * 3
    kept[0].write_bytes(kept[0].read_bytes()[:100])
    kept[1].write_bytes(b'')
    assert len(TarShards(str(shards))) == 12
    assert len(scans) == 5
    assert len(TarShards(str(shards))) == 12
    assert len(scans) == 5


def test_cache_that_cannot_be_written_costs_one_warning(shards: Path, scans: list[str], caplog):
    blocked = shards / 'file'
    blocked.write_text('in the way of a folder')
    for _ in range(2):
        assert len(TarShards(str(shards), index_dir=str(blocked / 'index'))) == 12
    assert len(scans) == 6
    assert caplog.text.count('the index of tar shards is not kept') == 2  # one for each start, not for each shard
    assert 'set index_dir to a writable folder' in caplog.text


def test_full_disk_leaves_no_half_written_index(shards: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog):
    def fill(file: Any, **arrays: Any) -> None:
        file.write(b'half')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(tar_index.np, 'savez', fill)
    assert len(TarShards(str(shards))) == 12
    assert list(cache.iterdir()) == []
    assert 'No space left' in caplog.text


def test_braces_lists_folders_and_wildcards_name_shards_in_order(shards: Path):
    names = [str(shards / f'train-00000{i}.tar') for i in range(3)]
    assert find_shards(str(shards)) == names
    assert find_shards(str(shards / 'train-{000000..000002}.tar')) == names
    assert find_shards(str(shards / 'train-*.tar')) == names
    assert find_shards([names[2], str(shards / 'train-00000{0,1}.tar')]) == [names[2], names[0], names[1]]
    assert expand_braces('{a,b}-{8..10}') == ['a-8', 'a-9', 'a-10', 'b-8', 'b-9', 'b-10']
    assert expand_braces('{098..101}') == ['098', '099', '100', '101']
    assert expand_braces('plain.tar') == ['plain.tar']


def test_missing_shards_are_counted_and_named(shards: Path):
    with pytest.raises(UserError, match=r'2 of 5 tar files do not exist, the first is .*train-000003\.tar'):
        TarShards(str(shards / 'train-{000000..000004}.tar'))
    with pytest.raises(UserError, match=r'no \.tar file in'):
        TarShards(str(shards.parent / 'folder'))
    with pytest.raises(UserError, match=r'\{4\.\.2\} in .* runs backwards'):
        TarShards('{4..2}.tar')
    with pytest.raises(UserError, match="labels must be 'cls' or 'shard', got 'json'"):
        TarShards(str(shards), labels='json')


@pytest.mark.parametrize('format', [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_tar_format_and_long_names_are_read(tmp_path: Path, format: int):
    folder = '/'.join(['n01440764', *['deep' * 5] * (6 if format == tarfile.USTAR_FORMAT else 20)])
    data = encoded(picture(8, 8, 4))
    path = write_tar(tmp_path / 'a.tar', {'x.txt': b'1', f'{folder}/a.JPEG': data, f'{folder}/a.cls': b'3'}, format)
    dataset = TarShards(str(path))
    assert dataset.name(0) == f'{path}:{folder}/a.JPEG'
    assert dataset.read(0) == data
    assert (dataset[0]['label'], dataset.others) == (3, 1)


def test_plain_tar_of_class_archives_numbers_the_labels_by_tar(tmp_path: Path):
    for name in ('n02', 'n01', 'n03'):
        (tmp_path / name).mkdir()
        for i in range(2):
            picture(8, 8, i).save(tmp_path / name / f'{name}_{i}.JPEG')
        os.system(f'tar -C {tmp_path / name} -cf {tmp_path / name}.tar .')
    dataset = TarShards(str(tmp_path / 'n*.tar'), labels='shard')
    assert sorted((dataset[i]['label'], os.path.basename(dataset.name(i))) for i in range(6)) == [
        (label, f'n0{label + 1}_{i}.JPEG') for label in range(3) for i in range(2)
    ]


def test_members_split_at_the_first_dot_as_webdataset_does(tmp_path: Path):
    assert split_member('a.b/c.d.PNG') == ('a.b/c', 'd.png')
    assert split_member('./._x.jpg') == ('./', '')  # what a Mac leaves beside x.jpg
    data = encoded(picture(8, 8))
    members = {
        'x.jpg': data,
        'x.seg.png': data,
        'x.cls': b'5',
        'y.cls': b'6',
        'y.jpg': data,
        '._x.jpg': b'',
        'z.png': data,
    }
    dataset = TarShards(str(write_tar(tmp_path / 'a.tar', members)))
    assert [os.path.basename(dataset.names[i]) for i in range(len(dataset))] == ['x.jpg', 'y.jpg', 'z.png']
    assert [dataset[i]['label'] for i in range(3)] == [5, 6, -1]
    assert dataset.others == 2


def test_hidden_members_and_those_of_system_folders_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    data = encoded(picture(8, 8))
    names = (
        './cat/a.png',
        '__MACOSX/cat/._a.png',
        '__MACOSX/b.png',
        'cat/.ipynb_checkpoints/c.png',
        './.d/e.png',
        'f.png',
    )
    path = write_tar(tmp_path / 'a.tar', dict.fromkeys(names, data) | {'__MACOSX/f.cls': b'3'})
    with tarfile.open(path, 'a') as tar:
        folder = tarfile.TarInfo('folder.png')
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    dataset = TarShards(str(path))
    assert [dataset.names[i] for i in range(len(dataset))] == ['./cat/a.png', 'f.png']
    assert (dataset.labels.tolist(), dataset.others) == ([-1, -1], 5)
    assert len(TarShards(str(path))) == 2  # the index is there already
    examples = '__MACOSX/cat/._a.png, __MACOSX/b.png, cat/.ipynb_checkpoints/c.png'
    assert f'5 members of tar files are left out, such as {examples}' in caplog.text
    assert caplog.text.count('members of tar files') == 1


def test_label_of_too_many_digits_is_refused(tmp_path: Path):
    path = write_tar(tmp_path / 'a.tar', {'a.png': encoded(picture(8, 8)), 'a.cls': b'9' * 30})
    with pytest.raises(UserError, match='not a whole number of at most 9 digits'):
        TarShards(str(path))


def test_path_with_braces_of_its_own_is_found(tmp_path: Path):
    path = write_tar(tmp_path / 'a{1,2}.tar', {'a.png': encoded(picture(8, 8))})
    assert find_shards(str(path)) == [str(path)]


def test_tar_cut_anywhere_is_refused_and_never_shorter_in_silence(tmp_path: Path):
    path = write_tar(tmp_path / 'a.tar', {f'{i}.png': encoded(picture(6, 6, i)) for i in range(3)})
    whole = path.read_bytes()
    end = len(whole.rstrip(b'\0'))
    end += -end % 512
    for length in (0, 1, 300, 511, 512, 513, 600, 1024, 1300, 1536, end - 513, end - 512, end - 511, end - 1, end):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match='truncated'):
            TarShards(str(path))
    for length in (end + 1, end + 512, len(whole)):  # the end mark has begun: nothing is missing
        path.write_bytes(whole[:length])
        assert len(TarShards(str(path))) == 3


def test_damaged_compressed_and_concatenated_tars_are_refused(tmp_path: Path):
    members = {f'{i}.png': encoded(picture(6, 6, i)) for i in range(3)}
    path = write_tar(tmp_path / 'a.tar', members)
    whole = bytearray(path.read_bytes())
    path.write_bytes(whole + whole)
    with pytest.raises(UserError, match='several tars in one: after 3 images, at byte'):
        TarShards(str(path))
    second = 512 + len(members['0.png']) + -len(members['0.png']) % 512
    whole[second + 10] ^= 255
    path.write_bytes(whole)
    with pytest.raises(UserError, match=f'damaged, or several tars in one: after 1 images, at byte {second}'):
        TarShards(str(path))
    with tarfile.open(path, 'w:gz') as tar:
        tar.add(__file__, 'x.py')
    with pytest.raises(UserError, match='is compressed'):
        TarShards(str(path))
    with pytest.raises(UserError, match='no image'):
        TarShards(str(write_tar(tmp_path / 'b.tar', {'x.txt': b'1'})))
    with pytest.raises(UserError, match=r"x\.cls holds 'cat', which is not a whole number"):
        TarShards(str(write_tar(tmp_path / 'c.tar', {'x.cls': b'cat'})))


def test_hard_link_in_place_of_an_image_is_refused(tmp_path: Path):
    picture(8, 8).save(tmp_path / 'a.png')
    os.link(tmp_path / 'a.png', tmp_path / 'b.png')
    with tarfile.open(tmp_path / 'x.tar', 'w') as tar:
        tar.add(tmp_path / 'a.png', 'a.png')
        tar.add(tmp_path / 'b.png', 'b.png')
    with pytest.raises(UserError, match=r'b\.png is a link or sparse'):
        TarShards(str(tmp_path / 'x.tar'))


def test_unreadable_member_is_treated_as_an_unreadable_file(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    members = {f'{i}.png': encoded(picture(8, 8, i)) for i in range(5)}
    members['2.png'] = members['2.png'][:50]
    path = write_tar(tmp_path / 'a.tar', members)
    dataset = TarShards(str(path), CROP)
    assert dataset[2]['image'] is None
    assert dataset[(2, 9)]['unreadable'] == [f'{path}:2.png']
    assert same(dataset[(2, 9)], dataset[(3, 9)])
    cfg = dict(dataset=dict(type='TarShards', shards=str(path), transforms=CROP), batch_size=2)
    counter = UnreadableImages(5, allowed=0.2, logger=logging.getLogger('test'))
    batches = [batch for batch in build_loader(cfg, seed=0, train=False) if counter.check(batch)]
    assert sum(len(batch['images']) for batch in batches) == 4
    assert counter.names == {f'{path}:2.png'}


def test_shard_that_shrinks_during_the_run_gives_unreadable_images(shards: Path):
    dataset = TarShards(str(shards))
    os.truncate(shards / 'train-000000.tar', 700)
    assert dataset[0]['image'] is None
    assert dataset[4]['image'] is not None
    assert dataset[(2, 0)]['unreadable'] == [dataset.name(2), dataset.name(3)]


def test_bundled_photos_stand_in_for_the_shards_of_a_smoke_run():
    assert TarShards.smoke(dict(shards='nowhere', transforms=CROP))['split'] == 'train'
    assert TarShards.smoke(dict(shards='nowhere', transforms=[dict(type='ADMCenterCrop', size=8)]))['split'] == 'eval'
