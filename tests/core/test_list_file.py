"""List files of other editors name the images that they mean, or are refused by the number of a line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal
from unicodedata import normalize

import pytest

from fvq_core.data.image_folder import ImageFolder
from fvq_core.data.list_file import read_list
from fvq_core.errors import UserError

NAMES = ('cat/0.jpg', 'dog/a photo.png', 'dog/1, 2.jpg', '#1.jpg', 'no_extension', 'back\\slash.jpg', 'a "b".png')


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in NAMES:
        path = tmp_path / 'data' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'')
    return tmp_path / 'data'


def read(root: Path, content: bytes) -> list[tuple[str, int]]:
    path = root.parent / 'list.txt'
    path.write_bytes(content)
    return read_list(str(path), str(root))


PLAIN = 'cat/0.jpg 0\ndog/a photo.png 1\n'
ENTRIES = [('cat/0.jpg', 0), ('dog/a photo.png', 1)]


@pytest.mark.parametrize(
    'content',
    [
        PLAIN.encode(),
        PLAIN.strip().encode(),
        PLAIN.replace('\n', '\r\n').encode(),
        PLAIN.replace('\n', '\r').encode(),
        PLAIN.encode('utf-8-sig'),
        PLAIN.encode('utf-16'),
        b'\xfe\xff' + PLAIN.replace('\n', '\r\n').encode('utf-16-be'),
        b'  cat/0.jpg  0 \n\n\tdog/a photo.png \t 1\n \n',
        b'cat/0.jpg\t0\ndog/a photo.png\t1\n',
        b'cat/0.jpg,0\ndog/a photo.png , 1\n',
        b'cat/0.jpg;0\ndog/a photo.png;1\n',
        b'"cat/0.jpg",0\n"dog/a photo.png",1\n',
        b'"cat/0.jpg" 0\n"dog/a photo.png" 1\n',
        b'# images and labels\ncat/0.jpg 0\n# dogs\ndog/a photo.png 1\n',
        b'cat\\0.jpg 0\r\ndog\\a photo.png 1\r\n',
        b'./cat/0.jpg 0\n.//dog/a photo.png 1\n',
    ],
)
def test_lists_of_any_editor_name_the_same_images(root: Path, content: bytes):
    assert [(os.path.normpath(path), label) for path, label in read(root, content)] == ENTRIES


def test_unusual_names_are_taken_as_they_are(root: Path):
    lines = '\n'.join(NAMES[1:]).encode() + b'\n"a ""b"".png"\n'
    assert read(root, lines) == [(name, -1) for name in (*NAMES[1:], 'a "b".png')]
    assert read(root, b'#1.jpg 3\ndog/1, 2.jpg 4\nno_extension 5\n') == [
        ('#1.jpg', 3),
        ('dog/1, 2.jpg', 4),
        ('no_extension', 5),
    ]
    assert read(root, os.fsencode(f'{root}/cat/0.jpg 0\n')) == [(f'{root}/cat/0.jpg', 0)]
    assert read(root, b'cat/0.jpg -1\ncat/0.jpg\n') == [('cat/0.jpg', -1)] * 2


def test_names_of_other_encodings_and_separators_of_unicode_survive(root: Path):
    for name in (os.fsdecode(b'latin-\xe4.jpg'), 'line\u2028separator.jpg', 'next\x85line.jpg', 'nb\xa0space.jpg'):
        (root / name).write_bytes(b'')
        assert read(root, os.fsencode(f'{name} 7\n')) == [(name, 7)]


@pytest.mark.parametrize(('stored', 'listed'), [('NFC', 'NFD'), ('NFD', 'NFC'), ('NFD', 'NFD')])
def test_accents_are_found_however_they_are_composed(
    root: Path, stored: Literal['NFC', 'NFD'], listed: Literal['NFC', 'NFD']
):
    name = normalize(stored, 'dog/Café.jpg')
    (root / name).write_bytes(b'')
    assert read(root, f'{normalize(listed, name)} 7\n'.encode()) == [(name, 7)]
    assert read(root, 'cat/0.jpg 0\ndog/fehlt-ä.jpg 1\n'.encode())[1] == ('dog/fehlt-ä.jpg', 1)


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (b'cat/0.jpg 0\nlatin-\xe4.jpg 1\n', 'line 2: it is not UTF-8'),
        (b'path,label\ncat/0.jpg,0\n', "line 1: expected a path .* got 'path,label'"),
        (b'cat/0.jpg,0\n\ndog/a photo.png 1\n', 'line 3: the label comes after a space, that of line 1 after a comma'),
        (b'cat/0.jpg cat\n', "line 1: expected a path .* got 'cat/0.jpg cat'"),
        (b'cat/0.jpg 0 1\n', 'line 1: expected a path'),
        (b'cat/0.jpg 0.5\n', 'line 1: expected a path'),
        (b'cat/0.jpg -2\n', 'whole number from -1 on'),
        (b'cat/0.jpg 99999999999999999999\n', 'line 1: expected a path'),
        ('cat/0.jpg ²\n'.encode(), 'line 1: expected a path'),
        (b'C:\\photos\\0.jpg 0\n', 'line 1: expected a path'),
        (b'cat/0.jpg 0\n\0\0\0', 'line 2 has a NUL byte'),
        (b'\xff\xfec\0a\0', 'line 1: expected a path'),
        (b'\xff\xfec\0a\0t', 'damaged UTF-16'),
        (
            b'dogs/0.jpg 0\ndogs/1.jpg 1\n',
            'none of 2 of its images is in .*data/dogs/0.jpg; paths are relative to root',
        ),
    ],
)
def test_lines_that_name_no_image_are_refused_by_number(root: Path, content: bytes, words: str):
    with pytest.raises(UserError, match=words) as raised:
        read(root, content)
    assert '\n' not in str(raised.value)


def test_list_of_nothing_but_comments_is_refused_by_the_data_set(root: Path):
    assert read(root, b'# nothing\n\n') == []
    with pytest.raises(UserError, match=r'no image is listed in .*list\.txt'):
        ImageFolder(str(root), list_file=str(root.parent / 'list.txt'))


def test_few_missing_images_are_left_to_the_run(root: Path):
    assert len(read(root, b'gone.jpg 0\ncat/0.jpg 0\n')) == 2
