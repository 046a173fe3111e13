"""An error of writing a file names the remedy, and only a full disk is called full."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from fvq_core.errors import UserError
from fvq_core.files.atomic import write_atomically


@pytest.mark.parametrize(
    ('number', 'remedy'),
    [
        (errno.ENOSPC, 'free some space on the disk'),
        (errno.EACCES, 'choose a folder that you may write in'),
        (errno.EROFS, 'choose a disk that can be written'),
    ],
)
def test_the_remedy_is_that_of_the_error_and_the_old_file_stays(
    number: int, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / 'plan.json'
    path.write_text('old')

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, 'replace', refuse)
    with pytest.raises(UserError) as raised:
        write_atomically(path, b'new', 'The old one is intact.', flush=False)
    assert str(raised.value) == f'{path} could not be written ({os.strerror(number)}); {remedy}. The old one is intact.'
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [('plan.json', 'old')]


def test_a_file_in_the_place_of_the_folder_is_named_as_that(tmp_path: Path) -> None:
    (tmp_path / 'run').write_text('')
    with pytest.raises(UserError, match=r'Not a directory\); a file stands where a folder should be\.'):
        write_atomically(tmp_path / 'run' / 'result.json', b'', '')
