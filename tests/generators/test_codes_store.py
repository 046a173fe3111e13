"""A store of codes: what is written comes back, and what is wrong with a store is said in one line."""

from __future__ import annotations

import errno
import json
import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fvq_core.codes import CodeLayout, Grid
from fvq_core.errors import UserError
from fvq_core.registry import TOKENIZERS, describe
from fvq_core.tokenizer import Tokenizer
from fvq_generators.codes_store import CodesStore, CodesWriter, LlamaGenFolder, Manifest, open_codes
from fvq_generators.fingerprint import tokenizer_hash
from tests.tiny import FVQ, tiny_tokenizer

from .tiny import manifest_fields

LAYOUT, VIEWS, IMAGES = CodeLayout(Grid(2, 3), 100), 4, 7


def plan(**changes: object) -> Manifest:
    """Seven images in shards of three, four crops each."""
    return replace(Manifest(layout=LAYOUT, **manifest_fields(VIEWS, IMAGES)), **changes)


def some_codes(planned: Manifest) -> np.ndarray:
    shape = (IMAGES, VIEWS, planned.layout.length)
    return np.random.default_rng(0).integers(0, planned.layout.vocab_size, shape)


def write(root: Path, planned: Manifest, codes: np.ndarray, left_out: tuple[int, ...] = ()) -> Manifest:
    """A complete store; image i has label 10 i."""
    writer = CodesWriter(root, planned)
    for shard in writer.open():
        images = [image for image in planned.shard_images(shard) if image not in left_out]
        writer.write(shard, codes[images], images, [10 * image for image in images])
    manifest = writer.finish(lambda image: f'image {image}', 0.5)
    writer.close()
    return manifest


@pytest.fixture
def store(tmp_path: Path) -> Path:
    planned = plan()
    write(tmp_path / 'store', planned, some_codes(planned))
    return tmp_path / 'store'


@pytest.mark.parametrize(('codebook_size', 'dtype'), [(100, 'uint16'), (65536, 'uint16'), (65537, 'int32')])
def test_codes_come_back_and_take_as_few_bits_as_they_need(tmp_path: Path, codebook_size: int, dtype: str):
    planned = plan(layout=CodeLayout(Grid(2, 3), codebook_size))
    codes = some_codes(planned)
    codes[0, 0, 0] = codebook_size - 1
    write(tmp_path / 'store', planned, codes)
    read = CodesStore(tmp_path / 'store')
    assert (len(read), read.num_crops, read.layout, read.manifest.dtype) == (IMAGES, VIEWS, planned.layout, dtype)
    for image in range(IMAGES):
        assert torch.equal(read.all_codes(image), torch.from_numpy(codes[image]))
        assert torch.equal(read.codes(image, 2), torch.from_numpy(codes[image, 2]))
        assert read.codes(image, 2).dtype == torch.int64
        assert read.label(image) == 10 * image
    read.verify()
    assert np.load(tmp_path / 'store/codes-00000.npy').dtype == dtype
    shards = [f'codes-0000{number}.npy' for number in range(3)]
    assert sorted(path.name for path in read.root.iterdir()) == [*shards, 'labels.npy', 'manifest.json']


def test_unreadable_images_have_no_row_and_are_named(tmp_path: Path):
    planned = plan()
    codes = some_codes(planned)
    manifest = write(tmp_path, planned, codes, left_out=(0, 4))
    assert manifest.unreadable == ('image 0', 'image 4')
    read = CodesStore(tmp_path)
    kept = [1, 2, 3, 5, 6]
    assert [read.label(row) for row in range(len(read))] == [10 * image for image in kept]
    assert all(torch.equal(read.all_codes(row), torch.from_numpy(codes[image])) for row, image in enumerate(kept))


@pytest.mark.parametrize('image', [-1, IMAGES])
def test_an_image_that_is_not_there_is_an_index_error(store: Path, image: int):
    read = CodesStore(store)
    for find in (read.label, read.all_codes, lambda number: read.codes(number, 0)):
        with pytest.raises(IndexError, match=f'store has images 0 to 6, got {image}'):
            find(image)
    for view in (-1, VIEWS):
        with pytest.raises(IndexError, match=f'crops 0 to 3, got {view}'):
            read.codes(0, view)


def test_a_pickled_store_carries_no_codes(store: Path):
    read = CodesStore(store)
    wanted = read.codes(6, 1)
    pickled = pickle.dumps(read)
    assert read.maps
    assert not pickle.loads(pickled).maps
    assert torch.equal(pickle.loads(pickled).codes(6, 1), wanted)


def edit_manifest(store: Path, **changes: object) -> None:
    path = store / 'manifest.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_shard(store: Path, **changes: object) -> None:
    document = json.loads((store / 'manifest.json').read_text())
    document['shards'][1].update(changes)
    edit_manifest(store, shards=document['shards'])


def put(store: Path, file: str, array: np.ndarray) -> None:
    """Exchange the array of a file for one of the same size in bytes."""
    size = (store / file).stat().st_size
    np.save(store / file, array)
    with open(store / file, 'r+b') as opened:
        opened.truncate(size)


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (lambda s: (s / 'manifest.json').unlink(), 'is not a codes store: it has no manifest.json'),
        (lambda s: (s / 'manifest.json').write_text('{"format": "fvq co'), 'manifest.json is not valid JSON'),
        (lambda s: (s / 'manifest.json').write_text('{"tokenizer": 1}'), 'is not the manifest of a codes store'),
        (lambda s: edit_manifest(s, version=3), 'has version 3 of a newer FVQ, this one reads version 2; update FVQ'),
        (
            lambda s: edit_manifest(s, version=1),
            'has version 1 of an earlier FVQ, this one reads version 2; extract the codes again with tools/extract_codes.py',
        ),
        (lambda s: edit_manifest(s, layout=dict(type='Hexagons')), 'unknown code layout'),
        (lambda s: edit_manifest(s, layout=None), 'damaged'),
        (lambda s: edit_manifest(s, shard_size=0), 'damaged'),
        (lambda s: edit_manifest(s, vocabulary=200), "contradicts itself in 'vocabulary'"),
        (lambda s: edit_manifest(s, crops=dict(count=0)), "contradicts itself in 'crops'"),
        (lambda s: edit_manifest(s, source_images=70), "contradicts itself in 'shards'"),
        (lambda s: edit_shard(s, bytes='3'), r"damaged .*'bytes of a shard' is '3', expected a whole number from 0"),
        (lambda s: edit_shard(s, images=3.0), "'images of a shard' is 3.0, expected a whole number"),
        (lambda s: edit_shard(s, file=None), "'file of a shard' is None, expected text"),
        (lambda s: edit_manifest(s, shards=[7]), "'shards' is 7, expected an object"),
        (lambda s: edit_manifest(s, shards={}), "'shards' is {}, expected a list"),
        (lambda s: edit_manifest(s, tokenizer_hash=None), "'tokenizer_hash' is None, expected text"),
        (lambda s: edit_manifest(s, complete='no'), "'complete' is 'no', expected true or false"),
        (lambda s: edit_manifest(s, complete=1), "'complete' is 1, expected true or false"),
        (lambda s: edit_manifest(s, source_images='7'), "'source_images' is '7', expected a whole number"),
        (lambda s: edit_manifest(s, shard_size=-3), "'shard_size' is -3, expected a whole number from 0"),
        (lambda s: edit_manifest(s, seed=True), "'seed' is True, expected a whole number"),
        (lambda s: edit_manifest(s, crops=dict(count='4')), "'count of crops' is '4', expected a whole number"),
        (lambda s: edit_manifest(s, crops=4), "'crops' is 4, expected an object"),
        (lambda s: edit_manifest(s, unreadable='x'), "'unreadable' is 'x', expected a list"),
        (lambda s: edit_manifest(s, unreadable=[1]), "'unreadable' is 1, expected text"),
        (
            lambda s: edit_manifest(s, layout={**LAYOUT.to_dict(), 'height': '2'}),
            "'height of the layout' is '2', expected a whole number",
        ),
        (lambda s: edit_manifest(s, complete=False), 'is unfinished; run tools/extract_codes.py'),
        (lambda s: (s / 'codes-00001.npy').unlink(), 'codes-00001.npy is missing, one of 3 shards'),
        (lambda s: os.truncate(s / 'codes-00002.npy', 100), 'has 100 bytes, its manifest says'),
        (lambda s: (s / 'labels.npy').unlink(), 'labels.npy cannot be read'),
        (lambda s: np.save(s / 'labels.npy', np.arange(6)), r'labels.npy holds int64 of shape \(6,\), expected'),
    ],
)
def test_a_store_that_is_damaged_is_refused_when_it_is_opened(store: Path, damage, message: str):
    CodesStore(store)
    damage(store)
    with pytest.raises(UserError, match=message) as caught:
        CodesStore(store)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('array', 'message'),
    [
        (np.full((3, VIEWS, 6), 100, np.uint16), r'codes-00001.npy, image 0: Grid: codes must lie in \[0, 100\), got'),
        (np.zeros((3, VIEWS, 6), np.int16), 'holds int16 of shape'),
        (
            np.zeros((VIEWS, 3, 6), np.uint16),
            r'holds uint16 of shape \(4, 3, 6\), expected uint16 of shape \(3, 4, 6\)',
        ),
        (np.array([object()]), 'codes-00001.npy cannot be read'),
    ],
)
def test_a_foreign_shard_of_the_right_size_is_refused_when_it_is_read(store: Path, array: np.ndarray, message: str):
    put(store, 'codes-00001.npy', array)
    read = CodesStore(store)
    read.codes(0, 0)
    with pytest.raises(UserError, match=message):
        read.codes(3, 0)
    with pytest.raises(UserError, match=r'codes-00001.npy does not match its checksum'):
        read.verify()


def test_each_kind_of_slot_has_its_own_vocabulary(tmp_path: Path):
    planned = plan(layout=CodeLayout(Grid(1, 3), (100, 50)))
    codes = some_codes(planned)
    codes[..., 0], codes[..., 1::2] = 99, 7
    write(tmp_path / 'good', planned, codes)
    CodesStore(tmp_path / 'good').codes(0, 0)
    codes[..., 1] = 99
    write(tmp_path / 'bad', planned, codes)
    with pytest.raises(UserError, match=r'must lie in \[0, 50\)'):
        CodesStore(tmp_path / 'bad').codes(0, 0)


def test_an_interrupted_store_is_continued_to_the_same_bytes(store: Path, tmp_path: Path):
    planned = plan()
    codes = some_codes(planned)
    again = tmp_path / 'again'
    writer = CodesWriter(again, planned)
    assert writer.open() == [0, 1, 2]
    writer.write(1, codes[3:6], range(3, 6), [30, 40, 50])
    (again / '.codes-00000.npy.partial').write_bytes(b'half')
    writer.close()
    with pytest.raises(UserError, match='is unfinished'):
        CodesStore(again)
    assert CodesWriter(again, planned).open() == [0, 2]
    write(again, planned, codes)
    assert {path.name: path.read_bytes() for path in again.iterdir()} == {
        path.name: path.read_bytes() for path in store.iterdir()
    }
    (again / 'shard-00002.json').write_text('{}')  # killed after the manifest and before the last note was removed
    assert CodesWriter(again, planned).open() == []
    assert not list(again.glob('shard-*'))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(tokenizer_hash='ef' * 32), 'tokenizer_hash is abab'),
        (dict(seed=1), 'seed is 0 there, 1 now'),
        (dict(source_digest='x'), 'source_digest is cd there, x now'),
        (dict(layout=CodeLayout(Grid(2, 3), 200)), 'vocabulary is 100 there, 200 now'),
    ],
)
def test_a_store_made_otherwise_is_not_continued(store: Path, changes: dict, message: str):
    before = {path.name: path.read_bytes() for path in store.iterdir()}
    with pytest.raises(UserError, match=message):
        CodesWriter(store, plan(**changes)).open()
    assert {path.name: path.read_bytes() for path in store.iterdir()} == before


def test_folders_with_other_files_and_files_are_left_alone(tmp_path: Path):
    (tmp_path / 'photo.jpg').write_bytes(b'mine')
    with pytest.raises(UserError, match=r'holds other files \(photo.jpg\)'):
        CodesWriter(tmp_path, plan()).open()
    with pytest.raises(UserError, match='is a file; name a folder'):
        CodesWriter(tmp_path / 'photo.jpg', plan()).open()
    assert [path.name for path in tmp_path.iterdir()] == ['photo.jpg']


def test_two_extractions_never_write_to_one_folder(tmp_path: Path):
    first, second = (CodesWriter(tmp_path / 'store', plan()) for _ in range(2))
    first.open()
    with pytest.raises(UserError, match='another call extracts codes into'):
        second.open()
    first.close()
    assert second.open() == [0, 1, 2]
    second.close()


@pytest.mark.skipif(not os.path.isdir('/proc/self/fd'), reason='finds file names in /proc')
@pytest.mark.parametrize('full_at', ['codes-00001.npy', 'shard-00001.json', 'labels.npy', 'manifest.json'])
def test_a_full_disk_keeps_what_was_written(full_at: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    planned, fsync = plan(), os.fsync
    codes, root = some_codes(planned), tmp_path / 'full'
    CodesWriter(root, planned).open()

    def failing(handle: int) -> None:
        name = Path(f'/proc/self/fd/{handle}').readlink().name
        if name.startswith(f'.{full_at}.') and name.endswith('.partial'):
            os.ftruncate(handle, os.fstat(handle).st_size // 2)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, 'fsync', failing)
        with pytest.raises(UserError, match=f'{full_at} could not be written .No space left.*run the same command'):
            write(root, planned, codes)
    assert not list(root.glob('.*.partial'))
    with pytest.raises(UserError, match='is unfinished'):
        CodesStore(root)
    assert 0 not in CodesWriter(root, planned).open()
    write(root, planned, codes)
    assert all((root / path.name).read_bytes() == path.read_bytes() for path in store.iterdir())


def test_too_many_unreadable_images_make_no_store(tmp_path: Path):
    planned = plan()
    with pytest.raises(UserError, match=r'4 of 7 images cannot be read, more than --max-unreadable 0.5 allows'):
        write(tmp_path, planned, some_codes(planned), left_out=(0, 1, 2, 6))
    with pytest.raises(UserError, match='is unfinished'):
        CodesStore(tmp_path)


def test_a_tokenizer_keeps_its_hash_when_it_is_folded_saved_and_loaded(tmp_path: Path):
    tokenizer = tiny_tokenizer()
    wanted = tokenizer_hash(tokenizer)
    assert len(wanted) == 64
    assert tokenizer_hash(tokenizer.train()) == wanted
    folded = tokenizer.fold()
    assert tokenizer_hash(folded) == wanted
    folded.save_pretrained(tmp_path / 'one')
    loaded = Tokenizer.from_pretrained(tmp_path / 'one')
    assert tokenizer_hash(loaded) == wanted
    loaded.to(memory_format=torch.channels_last)
    loaded.save_pretrained(tmp_path / 'two')
    assert tokenizer_hash(Tokenizer.from_pretrained(tmp_path / 'two')) == wanted
    tokenizer.save_pretrained(tmp_path / 'not folded')
    assert tokenizer_hash(Tokenizer.from_pretrained(tmp_path / 'not folded')) == wanted


@pytest.mark.parametrize(
    'quantizer',
    [
        FVQ,
        dict(type='FSQ', code_dim=8, levels=(4, 4)),
        dict(type='ResidualQuantizer', depth=2, quantizer=FVQ),
        dict(FVQ, projector=dict(type='LinearProjector'), update=dict(type='Frozen'), init=dict(type='NormalInit')),
        dict(type='LFQ', codebook_size=16, code_dim=8),
    ],
)
def test_every_kind_of_quantizer_keeps_its_hash(quantizer: dict, tmp_path: Path):
    tokenizer = tiny_tokenizer(quantizer)
    tokenizer.fold().save_pretrained(tmp_path)
    assert tokenizer_hash(Tokenizer.from_pretrained(tmp_path)) == tokenizer_hash(tokenizer)


def test_one_weight_or_one_setting_makes_another_tokenizer():
    tokenizer = tiny_tokenizer()
    wanted = tokenizer_hash(tokenizer)
    with torch.no_grad():
        next(tokenizer.decoder.parameters()).view(-1)[0] += 1e-6
    assert tokenizer_hash(tokenizer) != wanted
    config = describe(tiny_tokenizer().fold())
    config['quantizer'] = {**config['quantizer'], 'distance': dict(type='DotProduct')}
    torch.manual_seed(0)
    other = TOKENIZERS.build(config)
    other.load_state_dict(tiny_tokenizer().fold().state_dict())
    assert tokenizer_hash(other) != tokenizer_hash(tiny_tokenizer())


def test_another_tokenizer_is_refused(tmp_path: Path):
    maker, other = tiny_tokenizer(), tiny_tokenizer()
    planned = plan(tokenizer_hash=tokenizer_hash(maker))
    write(tmp_path, planned, some_codes(planned))
    read = CodesStore(tmp_path)
    read.check_tokenizer(maker)
    read.check_tokenizer(maker.fold())
    read.check_tokenizer(planned.tokenizer_hash)
    with pytest.raises(UserError, match=f'made by tokenizer {planned.tokenizer_hash[:12]} .somewhere., this one is'):
        read.check_tokenizer(other)


@pytest.fixture
def llamagen(tmp_path: Path) -> Path:
    """Three images in LlamaGen's way."""
    codes, labels = tmp_path / 'peer/imagenet256_codes', tmp_path / 'peer/imagenet256_labels'
    codes.mkdir(parents=True)
    labels.mkdir()
    for image in range(3):
        np.save(codes / f'{image}.npy', np.full((1, VIEWS, 6), image))
        np.save(labels / f'{image}.npy', np.array([5 + image]))
    return tmp_path / 'peer'


def test_llamagens_files_are_read_through_the_same_interface(llamagen: Path):
    for root in (llamagen, llamagen / 'imagenet256_codes'):
        read = open_codes(root, LAYOUT.to_dict())
        assert isinstance(read, LlamaGenFolder)
        assert (len(read), read.num_crops, read.layout) == (3, VIEWS, LAYOUT)
        assert torch.equal(read.codes(2, 1), torch.full((6,), 2))
        assert torch.equal(read.all_codes(1), torch.ones(VIEWS, 6, dtype=torch.int64))
        assert [read.label(image) for image in range(3)] == [5, 6, 7]


def test_an_image_that_llamagens_files_do_not_have_is_an_index_error(llamagen: Path):
    read = open_codes(llamagen, LAYOUT.to_dict())
    for image in (-1, 3):
        for find in (read.label, read.all_codes, lambda number: read.codes(number, 0)):
            with pytest.raises(IndexError, match=f'peer has images 0 to 2, got {image}'):
                find(image)
    with pytest.raises(IndexError, match='crops 0 to 3, got -1'):
        read.codes(0, -1)


def test_llamagens_files_know_no_tokenizer_until_they_are_told(llamagen: Path):
    with pytest.raises(UserError, match=r"does not say which tokenizer made its codes; .* set tokenizer_hash='abc'"):
        open_codes(llamagen, LAYOUT.to_dict()).check_tokenizer('abc')
    told = open_codes(llamagen, LAYOUT.to_dict(), 'abc')
    told.check_tokenizer('abc')
    with pytest.raises(UserError, match='made by tokenizer abc, this one is def'):
        told.check_tokenizer('def')


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (lambda p: (p / 'imagenet256_codes/1.npy').unlink(), '1.npy is missing, though there is 2.npy'),
        (lambda p: (p / 'imagenet256_labels/2.npy').unlink(), '3 files of codes but 2 of labels'),
        (lambda p: os.truncate(p / 'imagenet256_codes/1.npy', 150), '1.npy cannot be read'),
        (lambda p: np.save(p / 'imagenet256_codes/1.npy', np.zeros((1, 2, 6), int)), r'shape \(1, 2, 6\), expected'),
        (lambda p: np.save(p / 'imagenet256_codes/0.npy', np.zeros((1, VIEWS, 9), int)), 'is the layout right'),
        (
            lambda p: np.save(p / 'imagenet256_codes/1.npy', np.full((1, VIEWS, 6), 100)),
            r'1.npy: Grid: codes must lie in',
        ),
        (lambda p: np.save(p / 'imagenet256_labels/1.npy', np.zeros(2)), 'expected one whole number'),
    ],
)
def test_llamagens_files_are_refused_where_they_are_damaged(llamagen: Path, damage, message: str):
    def read_second() -> None:
        read = open_codes(llamagen, LAYOUT.to_dict())
        read.codes(1, 0)
        read.label(1)

    read_second()
    damage(llamagen)
    with pytest.raises(UserError, match=message):
        read_second()


def test_llamagens_files_need_a_layout_and_a_store_must_agree_with_it(llamagen: Path, store: Path):
    with pytest.raises(UserError, match='do not tell how codes are arranged; add layout='):
        open_codes(llamagen)
    assert open_codes(store, LAYOUT.to_dict()).layout == LAYOUT
    with pytest.raises(UserError, match='leave layout out'):
        open_codes(store, CodeLayout(Grid(2, 3), 99).to_dict())
