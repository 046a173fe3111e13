"""One reading of a folder, whoever asks: what is an image, what takes a label, and what is left out by name."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from mmengine.config import ConfigDict
from torchvision import datasets

from fvq_core.data.folder_listing import list_folder
from fvq_core.data.image_folder import ImageFolder
from fvq_core.data.tar_shards import TarShards, find_shards
from fvq_core.errors import UserError
from fvq_core.registry import DATASETS
from fvq_eval.commands import check_data
from fvq_eval.commands.test import use_image_folder
from fvq_eval.samples import open_samples
from fvq_generators.extraction.images import image_source
from fvq_quantizers.commands.make_codebook import image_source as codebook_source

from ..pictures import picture, save

LEFTOVERS = (
    '.ipynb_checkpoints/a-checkpoint.png',
    '__MACOSX/cat/._a.png',
    '@eaDir/a.png/thumb.jpg',
    '#recycle/cat/a.png',
    'cat/._a.png',
    'cat/.hidden/b.png',
    '.d.png',
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes, the second with a nested folder."""
    for seed, name in enumerate(('cat/a.png', 'dog/b.PNG', 'dog/more/c.JPEG')):
        save(picture(16, 16, seed), tmp_path / 'data' / name)
    return tmp_path / 'data'


def entries(folder: Path) -> list[tuple[str, int]]:
    """What training reads, and extraction and evaluation with it."""
    trained = ImageFolder(str(folder))
    found = [(trained.names[n], trained.label(n)) for n in range(len(trained))]
    extracted, scored = image_source(str(folder)), open_samples(str(folder), crop=dict(type='CenterCrop', size=8))
    assert [(extracted.names[n], extracted.label(n)) for n in range(len(extracted))] == found
    assert scored.labels_N.tolist() == [label for _, label in found]
    assert codebook_source(str(folder), 8)['type'] == 'ImageFolder'
    return found


CLEAN = [('cat/a.png', 0), ('dog/b.PNG', 1), ('dog/more/c.JPEG', 1)]


def test_hidden_and_system_files_take_no_label_and_are_named(
    root: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
):
    assert entries(root) == CLEAN
    assert caplog.text == ''
    for name in LEFTOVERS:
        save(picture(16, 16), root / name)
    (root / 'cat' / 'Thumbs.db').write_bytes(b'')
    assert entries(root) == CLEAN
    assert sorted(list_folder(str(root)).hidden) == [
        '#recycle',
        '.d.png',
        '.ipynb_checkpoints',
        '@eaDir',
        '__MACOSX',
        'cat/._a.png',
        'cat/.hidden',
    ]
    line = '7 hidden files and folders are left out: #recycle, .d.png, .ipynb_checkpoints, @eaDir, __MACOSX and 2 more'
    assert line in caplog.text
    assert check_data.main(['folder', str(root)]) == 0
    out = capsys.readouterr().out
    assert 'data: 3 images in 2 class folders of 1 to 2' in out
    assert f'odd: {line}' in out
    assert 'odd: 1 files are not images and are left out: 1 .db' in out


def test_torchvision_finds_the_same_images_and_labels(tmp_path: Path):
    for name in ('b/x.png', 'b/a/y.jpg', 'a b/z.PNG', 'C/0.jpeg', 'b/1.ppm', 'b.c/q.TIFF'):
        save(picture(4, 4), tmp_path / name)
    (tmp_path / 'C/link').symlink_to(tmp_path / 'b')
    theirs = [
        (str(Path(path).relative_to(tmp_path)), label) for path, label in datasets.ImageFolder(str(tmp_path)).samples
    ]
    assert sorted(theirs) == list_folder(str(tmp_path)).images


def test_root_in_a_hidden_folder_is_read(tmp_path: Path):
    save(picture(8, 8), tmp_path / '.cache/data/cat/a.png')
    assert list_folder(str(tmp_path / '.cache/data')).images == [('cat/a.png', 0)]


def test_empty_class_folder_keeps_its_label_and_is_named(root: Path, caplog: pytest.LogCaptureFixture):
    (root / 'cow').mkdir()
    assert entries(root) == [(name, 2 * label) for name, label in CLEAN]
    assert '1 class folders without an image still take a label: cow' in caplog.text


def test_linked_folders_are_followed_and_circles_are_not(root: Path, tmp_path: Path):
    save(picture(8, 8), tmp_path / 'elsewhere/x/d.png')
    (root / 'cat' / 'linked').symlink_to(tmp_path / 'elsewhere')
    (root / 'eel').symlink_to(tmp_path / 'elsewhere')
    (tmp_path / 'elsewhere' / 'x' / 'again').symlink_to(tmp_path / 'elsewhere')
    (root / 'cat' / 'up').symlink_to('..')
    (root / 'cat' / 'self').symlink_to('self')
    (root / 'all').symlink_to('.')
    listing = list_folder(str(root))
    assert listing.images == [('cat/a.png', 0), ('cat/linked/x/d.png', 0), *CLEAN[1:], ('eel/x/d.png', 2)]
    assert listing.loops == ['all', 'cat/up', 'cat/linked/x/again', 'eel/x/again']


def test_folders_that_link_to_one_another_many_times_are_listed_once_a_class(tmp_path: Path):
    for number in range(12):  # 2**12 paths lead to the last of them
        save(picture(4, 4), tmp_path / 'farm' / str(number) / 'a.png')
        for link in ('b', 'c'):
            (tmp_path / 'farm' / str(number) / link).symlink_to(f'../{number + 1}')
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'cat').symlink_to('../farm/0')
    assert len(list_folder(str(tmp_path / 'data')).images) == 12


def test_linked_images_are_read_and_what_is_not_a_file_is_not(root: Path):
    (root / 'cat' / 'link.png').symlink_to('a.png')
    os.mkfifo(root / 'cat' / 'pipe.png')
    (root / 'dog' / 'folder.png').mkdir()
    assert list_folder(str(root)).images == [CLEAN[0], ('cat/link.png', 0), *CLEAN[1:]]


@pytest.mark.parametrize('tar', [b'', b'no tar'])
def test_archive_beside_images_is_named_and_never_taken_for_them(
    root: Path, tar: bytes, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
):
    (root / 'download.TAR').write_bytes(tar)
    assert len(ImageFolder(str(root))) == 3
    assert 'archives are left out: download.TAR' in caplog.text
    for read in (image_source, open_samples, lambda path: codebook_source(path, 8)):
        with pytest.raises(UserError, match=r'got both: 3 images \(cat/a\.png, .*1 tar files \(download\.TAR\)'):
            read(str(root))
    assert check_data.main(['folder', str(root)]) == 0
    assert 'odd: archives are left out: download.TAR' in capsys.readouterr().out


def test_images_beside_zip_files_are_read(root: Path):
    (root / 'download.zip').write_bytes(b'')
    assert entries(root) == CLEAN


def test_folder_of_tars_is_read_as_tars_and_images_beside_them_are_logged(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    folder = tmp_path / 'tars'
    folder.mkdir()
    os.system(f'tar -C {root} -cf {folder}/a.tar .')
    (folder / '._a.tar').write_bytes(b'what a Mac leaves')
    (folder / 'README.txt').write_text('')
    assert isinstance(image_source(str(folder)), TarShards)
    assert find_shards(str(folder)) == find_shards(str(folder / '*.tar')) == [str(folder / 'a.tar')]
    save(picture(8, 8), folder / 'preview.png')
    (folder / 'b.tar.gz').write_bytes(b'')
    assert len(TarShards(str(folder))) == 3
    assert 'tars: 1 images beside the tar files are left out' in caplog.text
    assert 'tars: 1 archives beside the tar files are left out' in caplog.text
    with pytest.raises(UserError, match='got both'):
        image_source(str(folder))


def test_evaluation_set_of_a_command_line_may_be_tars_and_keeps_the_orientation(root: Path, tmp_path: Path):
    os.system(f'tar -C {root} -cf {tmp_path}/a.tar .')
    for path, kind in ((root, 'ImageFolder'), (tmp_path / 'a.tar', 'TarShards')):
        loader = ConfigDict(dataset=dict(type='BundledPhotos', crop_size=8, exif_orientation='ignore'))
        use_image_folder(loader, str(path))
        assert (loader.dataset.type, loader.dataset.exif_orientation) == (kind, 'ignore')
        assert DATASETS.build(loader.dataset)[0]['image'].shape == (3, 8, 8)


@pytest.mark.parametrize('value', [5, None, ['a'], {}])
def test_what_is_not_a_path_is_one_line(value: object, root: Path):
    for build in (
        lambda: ImageFolder(value),
        lambda: ImageFolder(str(root), list_file=value or 1),
        lambda: TarShards([value]),
    ):
        with pytest.raises(UserError, match=r'expected a path, got'):
            build()
    assert len(ImageFolder(root)) == 3


def test_folder_without_images_lists_what_is_there(tmp_path: Path):
    for name in ('a.heic', 'b.heic', 'c.zip', '._d.png'):
        (tmp_path / name).write_bytes(b'')
    with pytest.raises(UserError, match=r'no image .*\._d\.png.*archives are left out: c\.zip.*2 \.heic'):
        ImageFolder(str(tmp_path))


def test_folder_that_cannot_be_listed_is_an_error(root: Path, monkeypatch: pytest.MonkeyPatch):
    scandir = os.scandir

    def denied(path: str):
        if str(path).endswith('more'):
            raise PermissionError(13, 'Permission denied')
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', denied)
    with pytest.raises(UserError, match=r'dog/more cannot be listed: Permission denied'):
        list_folder(str(root))


def test_home_folder_is_found(root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    monkeypatch.setenv('HOME', str(root.parent))
    caplog.set_level(logging.ERROR)
    assert entries(Path('~/data')) == CLEAN
    assert check_data.main(['folder', '~/data']) == 0
