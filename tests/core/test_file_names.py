"""File names are any bytes: nothing that reads, writes, prints or logs them minds."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fvq_core.files.paths import expand_home, printable
from fvq_eval.commands import check_data, reconstruct
from fvq_eval.commands.reconstruct_files import unique_names

from ..pictures import picture
from ..tiny import tiny_tokenizer

NAMES = (
    *(
        'file.png',
        'allow_pickle.png',
        'a,b=c.png',
        'with space.png',
        'qu\'ot"e.png',
        '[x]{y}.png',
        '50%.png',
        'x.npy.png',
    ),
    *('häß.png', '日本.png', os.fsdecode(b'latin-\xe4.png'), 'new\nline.png', 'nul.v2.png'),
)


@pytest.fixture(scope='module')
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp('a,b=c ä') / 'tokenizer'
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    paths = [os.path.join(tmp_path, 'im,ages', name) for name in NAMES]
    (tmp_path / 'im,ages').mkdir()
    for seed, path in enumerate(paths):
        picture(16, 12, seed).save(os.fsencode(path), 'png')
    return paths


def test_reconstruct_writes_codes_and_scores_of_any_name(
    tokenizer: str, images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ascii_only = io.TextIOWrapper(io.BytesIO(), 'ascii')
    monkeypatch.setattr(sys, 'stdout', ascii_only)
    assert reconstruct.main([tokenizer, *images, '--out', str(tmp_path / 'o,ut')]) == 0
    scores = json.loads((tmp_path / 'o,ut' / 'scores.json').read_text())
    assert list(scores) == images
    with np.load(tmp_path / 'o,ut' / 'codes.npz', allow_pickle=False) as codes:
        assert codes.files == [Path(score['picture']).stem for score in scores.values()]
        assert 'file' in codes.files
        assert 'latin-\\udce4' in codes.files
        assert all(codes[name].shape == (6, 8) for name in codes.files)
    for path, score in scores.items():
        with Image.open(tmp_path / 'o,ut' / score['picture']) as pair, Image.open(os.fsencode(path)) as original:
            np.testing.assert_array_equal(np.asarray(pair)[:, :16], np.asarray(original))
    ascii_only.flush()
    assert b'latin-\\udce4.png: PSNR' in ascii_only.buffer.getvalue()


def test_reconstruct_never_overwrites_its_images(tokenizer: str, images: list[str], capsys: pytest.CaptureFixture[str]):
    before = Path(images[0]).read_bytes()
    assert reconstruct.main([tokenizer, images[0], '--out', str(Path(images[0]).parent)]) == 2
    assert 'file.png there is one of the images; name another folder' in capsys.readouterr().err
    assert Path(images[0]).read_bytes() == before


def test_image_too_small_for_a_score_is_named_before_anything_is_written(
    tokenizer: str, images: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    picture(30, 10).save(tmp_path / 'small.png')
    assert reconstruct.main([tokenizer, images[0], str(tmp_path / 'small.png'), '--out', str(tmp_path / 'out')]) == 2
    assert 'small.png is 30x10 once cropped; SSIM needs 11 pixels on each side' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_images_of_one_name_get_names_of_their_own():
    assert unique_names(['a/x.png', 'b/x.jpg', 'c/X.png', 'x_2.png', 'y.png']) == ['x', 'x_2', 'X_3', 'x_2_2', 'y']


def test_check_data_prints_any_path(images: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root = os.path.join(tmp_path, os.fsdecode(b'latin-\xe4'))
    (tmp_path / 'im,ages').rename(root)
    Path(os.path.join(root, os.fsdecode(b'broken-\xe4.png'))).write_bytes(b'')
    assert check_data.main(['folder', root, '--decode', '99']) == 0
    out = capsys.readouterr().out
    assert f'decoded {len(NAMES) + 1}, 1 unreadable' in out
    assert 'broken-\\udce4.png (expected an image file, got an empty file.)' in out


def test_home_is_expanded_and_unknown_users_are_not(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv('HOME', '/home/ada')
    assert [expand_home(path) for path in ('~/x', '~', 'a~', '~no-such-user/x', './x')] == [
        '/home/ada/x',
        '/home/ada',
        'a~',
        '~no-such-user/x',
        './x',
    ]


def test_printable_changes_only_what_a_terminal_cannot_show():
    assert printable('häß 日本.png') == 'häß 日本.png'
    assert printable('a\nb\udce4') == 'a\\nb\\udce4'
