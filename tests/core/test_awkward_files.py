"""Files that were made to hang, to fill the memory or to be written elsewhere: each costs one line, at once."""

from __future__ import annotations

import io
import json
import os
import signal
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fvq.commands.push import read_metrics
from fvq_core.data.list_file import read_list
from fvq_core.data.tar_index import scan_shard
from fvq_core.errors import UserError
from fvq_core.files.arrays import map_npy, read_npz
from fvq_core.files.json import read_json
from fvq_core.files.safetensors import read_safetensors
from fvq_core.files.torch_weights import read_weights_file
from fvq_core.saving.read_folder import read_config
from fvq_core.tokenizer import Tokenizer
from fvq_core.training.checkpoint import read_checkpoint
from fvq_eval.runs.run import read_run
from fvq_eval.samples.npz_file import NpzFile
from fvq_eval.statistics.statistics_file import read_statistics
from fvq_generators.codes_store.llamagen_folder import load as load_codes
from fvq_generators.codes_store.manifest import read_manifest
from fvq_generators.pretrained import GENERATOR
from fvq_quantizers.inits.file_init import FileInit

MEMORY = 2**26  # bytes; every file here is smaller, and claims more
SECONDS = 10


def init(path: Path) -> Any:
    return FileInit(str(path)).weights(2, 3)


def run_of_metrics(path: Path) -> Any:
    (path.parent / 'resolved_config.json').write_text('{}')
    return read_run(path.parent)


JSON_READERS: dict[str, Callable[[Path], Any]] = {
    'tokenizer/config.json': lambda path: read_config(path.parent, Tokenizer.saved_kind),
    'generator/config.json': lambda path: read_config(path.parent, GENERATOR),
    'store/manifest.json': lambda path: read_manifest(path.parent),
    'run/metrics.json': run_of_metrics,
    'run/resolved_config.json': lambda path: read_run(path.parent),
    'pushed/metrics.json': read_metrics,
}
READERS: dict[str, Callable[[Path], Any]] = {
    **JSON_READERS,
    'weights.safetensors': read_safetensors,
    'codebook.safetensors': init,
    'weights.bin': read_weights_file,
    'iter_1.pth': read_checkpoint,
    'codebook.npy': init,
    '0.npy': load_codes,
    'samples.npz': lambda path: NpzFile(str(path)),
    'statistics.npz': read_statistics,
    'arrays.npz': read_npz,
    'shard.tar': lambda path: scan_shard(str(path)),
    'list.txt': lambda path: read_list(str(path), str(path.parent)),
}


def refused(read: Callable[[Path], Any], path: Path) -> str:
    """The one line that reading a file ends with, soon and without much memory."""

    def too_slow(*_: object) -> None:
        pytest.fail(f'{path.name} took more than {SECONDS} s')

    before = signal.signal(signal.SIGALRM, too_slow)
    signal.alarm(SECONDS)
    tracemalloc.start()
    try:
        with pytest.raises(UserError) as caught:
            read(path)
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    message = str(caught.value)
    assert '\n' not in message
    assert len(message) < 1000
    assert path.name in message or str(path.parent) in message
    return message


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    def at(name: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        return path

    return at


@pytest.mark.parametrize('name', READERS)
def test_folder_or_pipe_in_place_of_a_file_is_refused(name: str, place: Callable[[str], Path]) -> None:
    path = place(name)
    path.mkdir()
    refused(READERS[name], path)
    path.rmdir()
    os.mkfifo(path)
    refused(READERS[name], path)


@pytest.mark.parametrize('name', [name for name in READERS if name != 'list.txt'])
def test_empty_file_is_refused(name: str, place: Callable[[str], Path]) -> None:
    path = place(name)
    path.write_bytes(b'')
    refused(READERS[name], path)


AWKWARD_JSON = {
    b'[' * 100_000: 'nested too deep',
    b'{"a":' * 100_000: 'nested too deep',
    b'\xef\xbb\xbf{}': 'byte order mark',
    b'{"a": "\xff"}': 'byte 7 is not UTF-8',
    b'{"a": ' + b'1' * 1_000_000 + b'}': 'too many digits',
    b'{"a": 1': 'not valid JSON',
}


@pytest.mark.parametrize('name', JSON_READERS)
def test_json_that_cannot_be_parsed_is_refused_with_the_reason(name: str, place: Callable[[str], Path]) -> None:
    path = place(name)
    for text, reason in AWKWARD_JSON.items():
        path.write_bytes(text)
        assert reason in refused(JSON_READERS[name], path)
        assert read_json(path) is None
    path.write_bytes(b'[1]')
    refused(JSON_READERS[name], path)
    os.truncate(path, 2**40)  # sparse
    assert 'expected at most 67,108,864' in refused(JSON_READERS[name], path)


def with_length(header: bytes) -> bytes:
    return struct.pack('<Q', len(header)) + header


AWKWARD_SAFETENSORS = {
    'gigabytes of header': struct.pack('<Q', 2**33) + b'{}',
    'largest length': b'\xff' * 8 + b'{}',
    'deep header': with_length(b'{"a":' * 100_000),
    'large tensor': with_length(json.dumps({'a': dict(dtype='F32', shape=[2**50], data_offsets=[0, 2**52])}).encode()),
}


@pytest.mark.parametrize('data', AWKWARD_SAFETENSORS.values(), ids=AWKWARD_SAFETENSORS)
def test_safetensors_that_claim_more_than_they_have_are_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / 'a.safetensors'
    path.write_bytes(data)
    for read in (read_safetensors, init, read_weights_file):
        assert 'cannot be read' in refused(read, path)


def npy(shape: tuple[int, ...], descr: str = '<f4', data: bytes = b'') -> bytes:
    header = repr({'descr': descr, 'fortran_order': False, 'shape': shape}).encode() + b'\n'
    return b'\x93NUMPY\1\0' + struct.pack('<H', len(header)) + header + data


AWKWARD_NPY = {
    '10^15 elements': npy((10**15,)),
    'sizes that overflow': npy((2**62, 4)),
    'negative sizes': npy((-1, -4), data=bytes(16)),
    'objects': npy((1,), '|O', bytes(8)),
    'gigabytes of header': b'\x93NUMPY\2\0\xff\xff\xff\xff{',
    'deep header': b'\x93NUMPY\1\0' + struct.pack('<H', 9000) + b'(' * 9000,
    'unknown version': b'\x93NUMPY\x09\0' + bytes(8),
}


@pytest.mark.parametrize('data', AWKWARD_NPY.values(), ids=AWKWARD_NPY)
def test_arrays_that_claim_more_than_they_have_are_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / '0.npy'
    path.write_bytes(data)
    for read in (init, load_codes):
        assert 'cannot be read' in refused(read, path)
    path = tmp_path / 'a.npz'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('mu.npy', data)
        archive.writestr('sigma.npy', data)
    for read in (read_npz, read_statistics, lambda path: NpzFile(str(path))):
        refused(read, path)


def test_archive_of_zeros_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    path, size = tmp_path / 'a.npz', 2**28
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive, archive.open('mu.npy', 'w') as member:
        member.write(npy((size,), '|u1'))
        for _ in range(size // 2**22):
            member.write(bytes(2**22))
    assert path.stat().st_size < 2**20
    for read in (read_npz, read_statistics, lambda path: NpzFile(str(path)).array('mu')):
        assert '268,435,5' in refused(read, path)


def test_checkpoint_that_unpacks_to_far_more_than_it_is_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'iter_1.pth'
    torch.save({'state_dict': {'a': torch.zeros(2**18)}}, path)
    assert read_checkpoint(path)['state_dict']['a'].shape == (2**18,)
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    assert path.stat().st_size < 2**14
    assert 'it is compressed' in refused(read_checkpoint, path)


def test_whole_arrays_are_read_as_numpy_reads_them(tmp_path: Path) -> None:
    arrays = dict(a=np.arange(6.0).reshape(2, 3), b=np.asfortranarray(np.arange(6).reshape(2, 3)), c=np.zeros((0, 4)))
    arrays |= dict(text=np.array('x'), scalar=np.array(3), zeros=np.zeros(2**16))
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / 'a.npz', **arrays)
        found = read_npz(tmp_path / 'a.npz')
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array)
    for array in arrays.values():
        np.save(tmp_path / 'a.npy', array)
        for read in (map_npy, load_codes):
            np.testing.assert_array_equal(read(tmp_path / 'a.npy'), array)


def tar_header(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def pax(**records: str) -> bytes:
    """An extended header for the next member."""
    lines = b''
    for key, value in records.items():
        body = f' {key}={value}\n'
        lines += f'{len(body) + 2}{body}'.encode()
    return tar_header('x', len(lines), tarfile.XHDTYPE) + lines.ljust(512, b'\0')


END = bytes(1024)
AWKWARD_TARS = {
    'image beyond the end': tar_header('a.png', 2**40) + bytes(512),
    'other file beyond the end': tar_header('a.txt', 2**40) + bytes(512),
    'size of 12 bytes': tar_header('a.png', 2**80) + bytes(512),
    'gigabytes of name': tar_header('a', 2**34, tarfile.GNUTYPE_LONGNAME) + bytes(512),
    'gigabytes of pax': tar_header('a', 2**34, tarfile.XHDTYPE) + bytes(512),
    'chain of headers': tar_header('a', 1, tarfile.GNUTYPE_LONGNAME).ljust(1024, b'a') * 5000 + END,
    'negative size': pax(size='-1024') + tar_header('a.png') + END,
    'sparse': tar_header('a.png', 0, tarfile.GNUTYPE_SPARSE) + END,
    'link': tar_header('a.png', 0, tarfile.SYMTYPE) + END,
}


@pytest.mark.parametrize('data', AWKWARD_TARS.values(), ids=AWKWARD_TARS)
def test_tar_whose_headers_lie_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / 'shard.tar'
    path.write_bytes(data)
    refused(lambda path: scan_shard(str(path)), path)


def test_members_named_elsewhere_are_read_in_place_and_never_written(tmp_path: Path) -> None:
    names = ['../up.png', '/etc/fvq.png', 'C:\\windows.png', 'a/../../b.png']
    with tarfile.open(tmp_path / 'shard.tar', 'w') as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(name)
            tar.addfile(info, io.BytesIO(name.encode()))
    index = scan_shard(str(tmp_path / 'shard.tar'))
    data = (tmp_path / 'shard.tar').read_bytes()
    found = [data[start : start + size].decode() for start, size in zip(index.offsets, index.sizes, strict=True)]
    assert set(found) <= set(names)
    assert [path.name for path in tmp_path.iterdir()] == ['shard.tar']
    assert not (tmp_path.parent / 'up.png').exists()
    assert not Path('/etc/fvq.png').exists()
