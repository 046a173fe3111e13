"""`check_data` accepts what is whole, names what is not, and prints a config that works."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from fvq_core.data.loader import build_loader
from fvq_eval.commands import check_data
from fvq_eval.commands import data_checks as check
from fvq_eval.commands.data_checks import ImageNetSplit

from ..pictures import picture, save


@pytest.fixture(autouse=True)
def small_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data sets of the same form with a few images."""
    monkeypatch.setattr(check, 'IMAGENET', {'train': ImageNetSplit(3, 10, 3, 4), 'val': ImageNetSplit(3, 6, 2, 2)})
    monkeypatch.setattr(check, 'COCO_VAL_IMAGES', 4)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    root = tmp_path / 'imagenet'
    for number, count in enumerate((3, 3, 4)):
        for image in range(count):
            save(picture(20, 30, image), root / 'train' / f'n0000000{number}' / f'n0000000{number}_{image}.JPEG')
    for number in range(1, 7):
        save(picture(30, 20, number), root / 'val' / f'ILSVRC2012_val_{number:08d}.JPEG')
    return root


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert check_data.main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert check_data.main([str(argument) for argument in arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith('error: ')
    return lines[0]


def test_published_counts_of_imagenet_and_coco(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    assert check.IMAGENET == {'train': (1000, 1281167, 732, 1300), 'val': (1000, 50000, 50, 50)}
    assert check.COCO_VAL_IMAGES == 5000


def test_whole_imagenet_passes_and_its_config_lines_build_both_loaders(
    imagenet: Path, capsys: pytest.CaptureFixture[str]
):
    out = run(capsys, 'imagenet', imagenet, '--decode', 5)
    assert f'{imagenet}/train: 10 images in 3 classes' in out
    assert f'{imagenet}/val: 6 images, no class folders' in out
    assert 'decoded 5, 0 unreadable; short sides 20 to 20, median 20, 5 below 256' in out
    assert 'odd' not in out
    config: dict = {}
    exec('\n'.join(line for line in out.splitlines() if line.startswith((' ', ')', 'train_', 'val_'))), config)
    for name, count in (('train_dataloader', 10), ('val_dataloader', 6)):
        loader = build_loader(dict(config[name], num_workers=0, batch_size=2), seed=0, train=name.startswith('train'))
        assert len(loader.dataset) == count
        assert next(iter(loader))['images'].shape == (2, 3, 256, 256)


def test_one_split_may_be_named_by_its_own_folder(imagenet: Path, capsys: pytest.CaptureFixture[str]):
    for path in (imagenet, imagenet / 'train'):
        assert 'val' not in run(capsys, 'imagenet', path, '--split', 'train')
    assert 'train is not a folder' in refused(capsys, 'imagenet', imagenet / 'train')


def test_validation_images_may_lie_in_class_folders(imagenet: Path, capsys: pytest.CaptureFixture[str]):
    for number in range(1, 7):
        name = f'ILSVRC2012_val_{number:08d}.JPEG'
        folder = imagenet / 'val' / f'n0000000{number % 3}'
        folder.mkdir(exist_ok=True)
        (imagenet / 'val' / name).rename(folder / name)
    assert '6 images in 3 classes' in run(capsys, 'imagenet', imagenet, '--split', 'val')


@pytest.mark.parametrize(
    ('path', 'message'),
    [
        ('train/n00000001/n00000001_0.JPEG', '9 images, expected 10; not between 3 and 4: n00000001 (2)'),
        ('train/n00000002/n00000002_0.JPEG', '9 images, expected 10; unpack them again'),
        ('val/ILSVRC2012_val_00000002.JPEG', '5 images, expected 6; missing: ILSVRC2012_val_00000002.JPEG'),
    ],
)
def test_missing_images_are_named(imagenet: Path, path: str, message: str, capsys: pytest.CaptureFixture[str]):
    (imagenet / path).unlink()
    assert message in refused(capsys, 'imagenet', imagenet, '--split', path.partition('/')[0])


@pytest.mark.parametrize(
    ('path', 'message'),
    [
        ('train/n00000003/x.JPEG', '4 class folders, expected 3'),
        ('train/extra/x.JPEG', 'not an ImageNet class (n and eight digits), but every folder becomes a class: extra'),
        ('train/x.JPEG', '1 images are beside the class folders: x.JPEG'),
        ('train/n00000000.tar', '1 class archives are still packed (n00000000.tar)'),
        ('val/x.JPEG', '7 images, expected 6; not of the set: x.JPEG'),
        ('val/n00000000/x.JPEG', '1 class folders, expected 3'),
    ],
)
def test_what_does_not_belong_is_named(imagenet: Path, path: str, message: str, capsys: pytest.CaptureFixture[str]):
    (imagenet / path).parent.mkdir(exist_ok=True)
    (imagenet / path).write_bytes(b'')
    assert message in refused(capsys, 'imagenet', imagenet, '--split', path.partition('/')[0])


def test_coco_wants_its_images_right_inside(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert 'nowhere is not a folder' in refused(capsys, 'coco', tmp_path / 'nowhere')
    (tmp_path / 'val2017.zip').write_bytes(b'')
    assert 'still packed' in refused(capsys, 'coco', tmp_path)
    for number in range(4):
        save(picture(8, 8), tmp_path / 'val2017' / f'{number:012d}.jpg')
    assert 'val2017: 4 images' in run(capsys, 'coco', tmp_path)
    save(picture(8, 8), tmp_path / 'val2017' / 'cat.jpg')
    assert 'not of COCO val2017: cat.jpg' in refused(capsys, 'coco', tmp_path)
    (tmp_path / 'val2017' / 'cat.jpg').rename(tmp_path / 'val2017' / '000000000009.jpg')
    assert '5 images, expected 4' in refused(capsys, 'coco', tmp_path)


def test_folder_is_counted_with_what_is_odd_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root = tmp_path / 'mine'
    for name in ('cat/a.png', 'cat/b.png', 'dog/c.png', 'd.png'):
        save(picture(300, 280), root / name)
    (root / 'empty').mkdir()
    (root / 'cat' / 'notes.txt').write_text('')
    (root / 'dog' / 'broken.png').write_bytes(b'no image')
    out = run(capsys, 'folder', root, '--decode', 99)
    assert '5 images in 3 class folders of 0 to 2' in out
    assert 'odd: 1 class folders without an image still take a label: empty' in out
    assert 'odd: 1 images beside the class folders get the label -1: d.png' in out
    assert 'odd: 1 files are not images and are left out: 1 .txt' in out
    assert 'decoded 5, 1 unreadable; short sides 280 to 280, median 280, 0 below 256' in out
    assert f'odd: unreadable, and skipped by a run: {root}/dog/broken.png' in out
    assert 'no image' in refused(capsys, 'folder', root / 'empty')


def test_tar_shards_are_counted_and_indexed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    stream = io.BytesIO()
    picture(8, 8).save(stream, 'PNG')
    for shard in range(2):
        with tarfile.open(tmp_path / f'{shard}.tar', 'w') as tar:
            for name, data in (
                ('a.png', stream.getvalue()),
                ('b.png', stream.getvalue()),
                ('a.cls', b'1'),
                ('x.json', b''),
            ):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    pattern = str(tmp_path / '{0..1}.tar')
    out = run(capsys, 'tar', pattern)
    assert f'{pattern}: 4 images in 2 tar files, 2 with a label' in out
    assert 'odd: 2 members are neither image nor label' in out
    assert f"type='TarShards', shards='{pattern}'" in out
    assert len(list((tmp_path / 'cache').rglob('*.npz'))) == 2
    (tmp_path / '1.tar').write_bytes((tmp_path / '1.tar').read_bytes()[:700])
    assert 'truncated' in refused(capsys, 'tar', pattern)


def test_options_that_make_no_sense_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert '--split is for imagenet' in refused(capsys, 'coco', tmp_path, '--split', 'val')
    assert '--decode must be 0 or more, got -1' in refused(capsys, 'folder', tmp_path, '--decode', -1)
