"""Files that are made to fill the memory, to wait for ever, or to reach outside their folder."""

from __future__ import annotations

import io
import json
import os
import resource
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from .readers import READERS
from .test_damaged_files import Watch, limited

MEMORY = 2**29
# A file of each kind: its reader, and its name.
KINDS = {
    'config.json': ('saved tokenizer', 'config.json'),
    'config.json of a generator': ('saved generator', 'config.json'),
    'model.safetensors': ('saved tokenizer', 'model.safetensors'),
    'model.safetensors of a generator': ('saved generator', 'model.safetensors'),
    'checkpoint': ('checkpoint', 'iter_1.pth'),
    "peer's checkpoint": ("peer's weights", 'peer.pt'),
    "peer's safetensors": ('safetensors weights', 'peer.safetensors'),
    'codebook.npy': ('codebook npy', 'codebook.npy'),
    'codebook.safetensors': ('codebook safetensors', 'codebook.safetensors'),
    'codebook.pt': ('codebook pt', 'codebook.pt'),
    'manifest.json': ('codes store', 'manifest.json'),
    'labels.npy': ('codes store', 'labels.npy'),
    'statistics': ("ADM's statistics", 'adm.npz'),
    'samples': ('samples npz', 'samples.npz'),
    'tar': ('tar shard and its index', 'shard.tar'),
    'list': ('list file', 'list.txt'),
    'history.jsonl': ('history', 'history.jsonl'),
    'metrics.json': ('metrics', 'metrics.json'),
    'resolved_config.json': ('run', 'resolved_config.json'),
    'caption': ('caption features', 'caption.npy'),
}


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Writes the files of a kind; returns the path of the one to be replaced."""
    folder = tmp_path / 'files'
    folder.mkdir()
    monkeypatch.setenv('XDG_CACHE_HOME', str(folder / 'cache'))

    def make(kind: str) -> Path:
        reader, name = KINDS[kind]
        READERS[reader].make(folder)
        READERS[reader].read(folder)  # also imports what is imported on first use
        return folder / name

    return make


@pytest.fixture(scope='module')
def watch() -> Watch:
    return Watch()


def refused(kind: str, path: Path, watch: Watch) -> None:
    """Reading ends in one line that names the file; memory stays bounded, nothing is written elsewhere or started."""
    reader = READERS[KINDS[kind][0]]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with watch.watching(path.parent), limited():
        try:
            messages = list(reader.read(path.parent) or ())
        except reader.refusals as error:
            messages = [str(error)]
    assert messages, 'it was read'
    for message in messages:
        assert message.splitlines() == [message]
        assert path.name in message or str(path.parent) in message or not reader.names_file
    assert not watch.seen
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY


def folder(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to('/dev/zero')


def loop(path: Path) -> None:
    path.symlink_to(path)


def empty(path: Path) -> None:
    path.touch()


def zeros(path: Path) -> None:
    """Three gigabytes that take no space on the disk."""
    with open(path, 'wb') as file:
        file.truncate(3 * 2**30)


# What is there without entries is not refused by its reader.
NOTHING_INSIDE = [('history.jsonl', 'empty'), ('history.jsonl', 'loop'), ('list', 'empty')]


@pytest.mark.parametrize(
    ('kind', 'make'),
    [
        (kind, make)
        for kind in KINDS
        for make in (folder, pipe, device, loop, empty, zeros)
        if (kind, make.__name__) not in NOTHING_INSIDE
    ],
)
def test_what_is_no_such_file(
    kind: str, make: Callable[[Path], None], made: Callable[[str], Path], watch: Watch
) -> None:
    path = made(kind)
    path.unlink()
    make(path)
    refused(kind, path, watch)


def npy(header: str, data: bytes = b'') -> bytes:
    text = header.encode().ljust(118) + b'\n'
    return b'\x93NUMPY\x01\x00' + struct.pack('<H', len(text)) + text + data


LIES = {
    'too many': npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000000), }", bytes(64)),
    'overflow': npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", bytes(64)),
    'negative': npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4), }", bytes(64)),
    'objects': npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"cos\nsystem\n(S'touch pwned'\ntR."),
    'a program': npy("{'descr': __import__('os').system('touch pwned'), 'fortran_order': False, 'shape': (1,), }"),
    'nested': npy('(' * 100),
}


@pytest.mark.parametrize('lie', LIES)
@pytest.mark.parametrize('kind', ['labels.npy', 'caption', 'codebook.npy'])
def test_headers_of_npy_that_lie(kind: str, lie: str, made: Callable[[str], Path], watch: Watch) -> None:
    path = made(kind)
    path.write_bytes(LIES[lie])
    refused(kind, path, watch)


@pytest.mark.parametrize('lie', LIES)
@pytest.mark.parametrize('kind', ['statistics', 'samples'])
def test_headers_in_npz_that_lie(kind: str, lie: str, made: Callable[[str], Path], watch: Watch) -> None:
    path = made(kind)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    with zipfile.ZipFile(path, 'w') as archive:
        for name in names:
            archive.writestr(name, LIES[lie])
    refused(kind, path, watch)


@pytest.mark.parametrize('kind', ['statistics', 'samples'])
def test_an_npz_of_zeros_does_not_fill_the_memory(kind: str, made: Callable[[str], Path], watch: Watch) -> None:
    path = made(kind)
    side = 40_000
    keys = ['mu', 'sigma', 'mu_s', 'sigma_s'] if kind == 'statistics' else ['arr_0']
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for key in keys:  # the headers are right, the bytes are not all there: 12.8 GB are claimed
            header = npy(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({side}, {side}), }}")
            archive.writestr(f'{key}.npy', header + bytes(2**20))
    data = bytearray(path.read_bytes())
    claimed = min(side * side * 8, 2**32 - 2)
    for start in range(len(data) - 46):  # sizes in the central directory
        if data[start : start + 4] == b'PK\x01\x02':
            data[start + 24 : start + 28] = struct.pack('<I', claimed)
    path.write_bytes(data)
    refused(kind, path, watch)


JSON = {
    'deep lists': b'[' * 100_000,
    'deep objects': b'{"a":' * 100_000,
    'deep and whole': b'{"x": ' + b'[' * 100_000 + b']' * 100_000 + b'}',
    'digits': b'{"x": ' + b'9' * 1_000_000 + b'}',
    'not UTF-8': b'{"x": "\xff"}',
    'a list': b'[]',
    'a number': b'1e999',
    'NaN': b'NaN',
    'cut short': b'{"x":',
    'nothing': b'{}',
}


@pytest.mark.parametrize('text', JSON)
@pytest.mark.parametrize('kind', [kind for kind in KINDS if '.json' in kind and kind != 'history.jsonl'])
def test_json_that_is_none_of_ours(kind: str, text: str, made: Callable[[str], Path], watch: Watch) -> None:
    path = made(kind)
    path.write_bytes(JSON[text])
    if (kind, text) != ('resolved_config.json', 'nothing'):  # an empty config is a config
        refused(kind, path, watch)


TENSOR = '{"x": {"dtype": "%s", "shape": [%s], "data_offsets": [%s]}}'
HEADERS = {
    'longer than the file': (2**40, b'{}'),
    'unsigned': (2**64 - 1, b'{}'),
    'offsets beyond the end': (None, (TENSOR % ('F32', '1000', '0, 4000')).encode()),
    'offsets backwards': (None, (TENSOR % ('F32', '1', '4, 0')).encode()),
    'a shape of another size': (None, (TENSOR % ('F32', '4294967296, 4294967296', '0, 16')).encode()),
    'an unknown type': (None, (TENSOR % ('P64', '4', '0, 16')).encode()),
    'deep': (None, b'{"x":' * 100_000),
}


@pytest.mark.parametrize('header', HEADERS)
@pytest.mark.parametrize('kind', [kind for kind in KINDS if 'safetensors' in kind])
def test_headers_of_safetensors_that_lie(kind: str, header: str, made: Callable[[str], Path], watch: Watch) -> None:
    length, text = HEADERS[header]
    path = made(kind)
    path.write_bytes(struct.pack('<Q', len(text) if length is None else length) + text + bytes(16))
    refused(kind, path, watch)


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode='w', format=tarfile.PAX_FORMAT) as tar:
        for member, data in members:
            tar.addfile(member, io.BytesIO(data))
    return file.getvalue()


def member(name: str, size: int = 0, **values: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    for key, value in values.items():
        setattr(info, key, value)
    return info


TARS = {
    'a size beyond the end': member('a.png', 10**9).tobuf() + bytes(1024),
    'a negative size': member('a.png', -(2**40)).tobuf(tarfile.GNU_FORMAT) + bytes(1024),
    'a size of 8 bytes': member('a.png', 2**62).tobuf(tarfile.GNU_FORMAT) + bytes(1024),
    'a long name without end': member('././@LongLink', 2**40, type=tarfile.GNUTYPE_LONGNAME).tobuf(tarfile.GNU_FORMAT),
    'extended headers without end': member('x', 2**40, type=tarfile.XHDTYPE).tobuf(tarfile.GNU_FORMAT) + bytes(512),
    'a chain of headers': member('././@LongLink', 0, type=tarfile.GNUTYPE_LONGNAME).tobuf(tarfile.GNU_FORMAT) * 5000,
    'a sparse member': member('a.png', 2**40, type=tarfile.GNUTYPE_SPARSE).tobuf(tarfile.GNU_FORMAT) + bytes(1024),
    'a link': tar_of((member('a.png', type=tarfile.SYMTYPE, linkname='/etc/passwd'), b'')),
    'a device': tar_of((member('a.png', type=tarfile.CHRTYPE), b'')),
}


@pytest.mark.parametrize('what', TARS)
def test_tars_that_lie(what: str, made: Callable[[str], Path], watch: Watch) -> None:
    kind = 'tar'
    path = made(kind)
    path.write_bytes(TARS[what])
    refused(kind, path, watch)


@pytest.mark.parametrize('name', ['../shard.npy', '/etc/passwd', '..\\shard.npy', 'C:\\shard.npy', 'a/b.npy', ''])
def test_a_manifest_s_shards_lie_in_its_folder(name: str, made: Callable[[str], Path], watch: Watch) -> None:
    kind = 'manifest.json'
    path = made(kind)
    document = json.loads(path.read_text())
    document['shards'][0]['file'] = name
    path.write_text(json.dumps(document))
    refused(kind, path, watch)


@pytest.mark.parametrize('kind', ['config.json', 'model.safetensors of a generator', 'labels.npy'])
def test_links_out_of_a_folder_are_followed(kind: str, made: Callable[[str], Path], tmp_path: Path) -> None:
    """The hub's cache consists of them."""
    path = made(kind)
    path.rename(tmp_path / 'blob')
    path.symlink_to(tmp_path / 'blob')
    READERS[KINDS[kind][0]].read(path.parent)
