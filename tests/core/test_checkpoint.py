"""Checkpoint files: all or nothing when written, harmless when read."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from fvq_core.training.checkpoint import (
    CheckpointError,
    list_checkpoints,
    newest_readable,
    read_checkpoint,
    write_checkpoint,
)


def checkpoint(value: float) -> dict:
    return {'meta': {'iter': int(value)}, 'state_dict': {'weight': torch.full((300,), value)}}


class Intruder:
    """Unpickling it would make a folder."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def truncate(path: Path, keep: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])


def test_what_was_written_is_read_back(tmp_path: Path):
    write_checkpoint(checkpoint(3), tmp_path / 'iter_3.pth')
    read = read_checkpoint(tmp_path / 'iter_3.pth')
    assert read['meta'] == {'iter': 3}
    assert torch.equal(read['state_dict']['weight'], torch.full((300,), 3.0))
    assert [path.name for path in tmp_path.iterdir()] == ['iter_3.pth']


def test_crash_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / 'iter_1.pth'
    write_checkpoint(checkpoint(1), path)
    before = path.read_bytes()

    def fail_midway(value: object, file: object) -> None:
        file.write(b'half of it')
        raise OSError('No space left on device')

    monkeypatch.setattr(torch, 'save', fail_midway)
    with pytest.raises(CheckpointError, match='No space left'):
        write_checkpoint(checkpoint(2), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_content_is_on_disk_before_the_name_points_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    steps = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, 'fsync', lambda handle: (steps.append('fsync'), fsync(handle)))
    monkeypatch.setattr(os, 'replace', lambda *paths: (steps.append('replace'), replace(*paths)))
    write_checkpoint(checkpoint(1), tmp_path / 'iter_1.pth')
    assert steps == ['fsync', 'replace', 'fsync']


@pytest.mark.parametrize('keep', [0.0, 0.02, 0.5, 0.97])
def test_truncated_file_is_refused(tmp_path: Path, keep: float):
    path = tmp_path / 'iter_1.pth'
    write_checkpoint(checkpoint(1), path)
    truncate(path, keep)
    with pytest.raises(CheckpointError, match=r'iter_1\.pth is (truncated|not a checkpoint)'):
        read_checkpoint(path)


@pytest.mark.parametrize('content', [b'no checkpoint at all', pickle.dumps(3, 2), b'PK\x03\x04'])
def test_file_of_another_kind_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / 'iter_1.pth'
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r'iter_1\.pth'):
        read_checkpoint(path)


@pytest.mark.parametrize('zipped', [True, False])
def test_pickled_object_is_refused_and_its_code_does_not_run(tmp_path: Path, zipped: bool):
    trace, path = tmp_path / 'code_ran', tmp_path / 'iter_1.pth'
    torch.save({**checkpoint(1), 'extra': Intruder(trace)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match='holds Python objects, and loading it could run code'):
        read_checkpoint(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists(), 'the intruder is harmless, so this test shows nothing'


def test_missing_file_and_file_without_weights_are_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r'nothing\.pth does not exist'):
        read_checkpoint(tmp_path / 'nothing.pth')
    torch.save({'model': {}}, tmp_path / 'peer.pth')
    with pytest.raises(CheckpointError, match=r"no 'state_dict'; .*tools/convert\.py"):
        read_checkpoint(tmp_path / 'peer.pth')


@pytest.mark.parametrize(
    ('part', 'said'),
    [
        (dict(state_dict=3), "'state_dict' is int, which no run writes"),
        (dict(meta=[1]), "'meta' is list"),
        (dict(ema_state_dict={'weight': 1.0}), "'ema_state_dict' holds a float under 'weight'"),
        (dict(state_dict={7: torch.zeros(1)}), "'state_dict' holds a Tensor under 7, not a tensor by name"),
        (dict(optimizer='adam'), "'optimizer' is str"),
    ],
)
def test_a_checkpoint_with_something_else_in_a_place_is_refused(part: dict, said: str, tmp_path: Path):
    torch.save({**checkpoint(1), **part}, tmp_path / 'iter_1.pth')
    with pytest.raises(CheckpointError, match=said):
        read_checkpoint(tmp_path / 'iter_1.pth')


def test_list_is_newest_first_by_number_and_ignores_other_files(tmp_path: Path):
    for name in ('iter_9.pth', 'iter_100.pth', 'iter_20.pth', 'iter_x.pth', '.iter_500.pth.partial', 'iter_7.pth.bak'):
        (tmp_path / name).touch()
    assert [path.name for path in list_checkpoints(tmp_path)] == ['iter_100.pth', 'iter_20.pth', 'iter_9.pth']


def test_newest_readable_passes_over_a_broken_one_with_a_warning(tmp_path: Path):
    for number in (9, 10, 11):
        write_checkpoint(checkpoint(number), tmp_path / f'iter_{number}.pth')
    truncate(tmp_path / 'iter_11.pth', 0.5)
    logger = Mock()
    path, found = newest_readable(tmp_path, logger)
    assert (path.name, found['meta']['iter']) == ('iter_10.pth', 10)
    (message,) = (call.args[0] for call in logger.warning.call_args_list)
    assert 'iter_11.pth is truncated' in message
    assert 'Falling back' in message


def test_no_checkpoint_is_none_and_only_broken_ones_are_an_error(tmp_path: Path):
    assert newest_readable(tmp_path, Mock()) is None
    for number in (1, 2):
        (tmp_path / f'iter_{number}.pth').write_bytes(b'')
    with pytest.raises(CheckpointError, match='none of the 2 checkpoints'):
        newest_readable(tmp_path, Mock())
