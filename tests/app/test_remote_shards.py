"""Shards over HTTP: the images of the shards, in an order that can be entered anywhere, and one line when a server fails."""

from __future__ import annotations

import gc
import gzip
import logging
import lzma
import pickle
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from fvq_core.commands import train
from fvq_core.data.loader import build_loader
from fvq_core.data.sample import UnreadableImages
from fvq_core.errors import UserError
from fvq_core.registry import DATASETS

from ..cli.helpers import REPO, checkpoint
from .shard_server import PER_SHARD, ShardServer, encoded, picture, serve, shard, tar_of

pytest.importorskip('webdataset', reason='needs the extra fvq[data]')
pytest.importorskip('aiohttp', reason='needs the extra fvq[data]')

from fvq.remote_data import RemoteShards, lane, streamed_images, tar_stream

# webdataset closes no file, and fsspec leaves responses that it refuses to the garbage collector.
pytestmark = pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
SHARDS, BATCH = 4, 3
ALL = SHARDS * PER_SHARD
CROP = (dict(type='ADMRandomCrop', size=8), dict(type='HorizontalFlip'))


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ShardServer]:
    """Four shards of six pictures; no test writes to the user's cache or waits."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr(lane.time, 'sleep', lambda seconds: None)
    with serve() as found:
        found.files = {f'train-{number}.tar': shard(number) for number in range(SHARDS)}
        yield found
    gc.collect()


def config(server: ShardServer, **changes: Any) -> dict[str, Any]:
    url = f'{server.url}/train-{{0..{SHARDS - 1}}}.tar'
    return dict(type='RemoteShards', shards=url, length=ALL, transforms=CROP, lanes=2, shuffle_block=4) | changes


def batches(dataset: dict[str, Any], count: int, start: int = 0, workers: int = 0) -> list[dict[str, Any]]:
    loader = build_loader(dict(dataset=dataset, batch_size=BATCH, num_workers=workers), seed=1, train=True)
    loader.sampler.start = start * BATCH
    return list(islice(loader, count))


def alike(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(torch.equal(a['images'], b['images']) and torch.equal(a['labels'], b['labels']) for a, b in pairs)


def labels(found: list[dict[str, Any]]) -> list[int]:
    return torch.cat([batch['labels'] for batch in found]).tolist()


def test_the_stream_in_its_order_is_that_of_webdataset(server: ShardServer, tmp_path: Path) -> None:
    import webdataset

    for name, data in server.files.items():
        (tmp_path / name).write_bytes(data)
    paths = [str(tmp_path / name) for name in sorted(server.files)]
    theirs = [int(sample['cls']) for sample in webdataset.WebDataset(paths, shardshuffle=False)]
    loader = build_loader(dict(dataset=config(server), batch_size=5), seed=0, train=False)
    assert labels(list(loader)) == theirs == list(range(ALL))
    assert labels(list(loader)) == theirs  # a second evaluation


def test_an_epoch_of_all_lanes_has_every_image_once_and_each_epoch_another_order(server: ShardServer) -> None:
    found = labels(batches(config(server), 2 * ALL // BATCH))
    assert sorted(found[:ALL]) == sorted(found[ALL:]) == list(range(ALL))
    assert found[:ALL] != found[ALL:]
    assert found != labels(batches(config(server, seed=2), 2 * ALL // BATCH))


@pytest.mark.processes
def test_batches_are_the_same_for_any_number_of_workers_and_start(server: ShardServer) -> None:
    alone = batches(config(server), 12)
    assert alike(alone, batches(config(server), 12, workers=2))
    assert alike(alone[5:], batches(config(server), 7, start=5))
    assert alike(alone[7:], batches(config(server), 5, start=7, workers=2))


def test_a_resumed_run_reads_on_from_a_known_place_and_without_one_gives_the_same(
    server: ShardServer, tmp_path: Path
) -> None:
    long = ALL // BATCH * 3
    whole = batches(config(server), long)
    server.asked.clear()
    assert alike(whole[-2:], batches(config(server), 2, start=long - 2))
    few = len(server.asked)
    assert alike(whole[-2:], batches(config(server, places_dir=str(tmp_path / 'empty')), 2, start=long - 2))
    assert few < (len(server.asked) - few) / 2, 'known places did not save a request'


def test_ranks_share_the_shards(server: ShardServer, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for rank in range(2):
        monkeypatch.setattr(streamed_images, 'get_dist_info', lambda rank=rank: (rank, 2))
        dataset = DATASETS.build(config(server, shuffle_block=3), seed=0)  # a divisor of a shard
        positions = [range(2 * BATCH * batch + rank, 2 * BATCH * (batch + 1), 2) for batch in range(ALL // BATCH // 2)]
        samples = [dataset.__getitems__([(0, position) for position in batch]) for batch in positions]
        found += [sample['label'] for batch in samples for sample in batch]
    assert sorted(found) == list(range(ALL))


def test_more_ranks_than_shards_take_turns_in_them(server: ShardServer, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for rank in range(3):
        monkeypatch.setattr(streamed_images, 'get_dist_info', lambda rank=rank: (rank, 3))
        dataset = DATASETS.build(config(server, shards=f'{server.url}/train-0.tar', shuffle_block=1), seed=0)
        found += [dataset[(0, position)]['label'] for position in (rank, rank + 3)]
    assert sorted(found) == list(range(PER_SHARD))


def test_a_lost_connection_is_tried_again_and_changes_nothing(
    server: ShardServer, caplog: pytest.LogCaptureFixture
) -> None:
    expected = batches(config(server, places_dir='/dev/null/none'), 8)
    server.faults = {'train-1.tar': [503, -2000, -9000], 'train-2.tar': [-500]}
    assert alike(expected, batches(config(server, places_dir='/dev/null/none'), 8))
    again = [record.getMessage() for record in caplog.records if 'trying again' in record.getMessage()]
    assert len(again) == 4
    assert all('train-1.tar' in line or 'train-2.tar' in line for line in again)


def test_a_server_that_stays_away_costs_one_line_that_names_the_shard(server: ShardServer) -> None:
    server.faults = {'train-1.tar': [503] * 99}
    found = batches(config(server), 8)
    errors = [batch['error'] for batch in found if batch['error']]
    assert errors
    assert f'RemoteShards: {server.url}/train-1.tar cannot be read after 6 tries' in errors[0]
    with pytest.raises(UserError, match=r'train-1\.tar cannot be read after 6 tries'):
        UnreadableImages(ALL, 0.1, None).check(next(batch for batch in found if batch['error']))


@pytest.mark.parametrize(
    ('body', 'words'),
    [
        (None, 'train-0.tar cannot be read: there is no such file'),
        (b'<!DOCTYPE html><html>log in</html>', 'is a web page, not a tar file'),
        (b'', 'is empty'),
        (gzip.compress(shard(0)), 'is compressed'),
        (lzma.compress(shard(0), lzma.FORMAT_ALONE), 'is compressed'),
        (b'no tar at all ' * 99, 'is not a tar file'),
        (tar_of({'a.txt': b'x'}), 'no image in 1 shard(s)'),
        (tar_of({'a.png': b'x', 'a.cls': b'cat'}), "a.cls holds b'cat', not a whole number"),
        (tar_of({'a.png': b'x', 'b.png': b'x'})[:2048], 'it stops without an end mark after 2 images'),
        (tar_of({'a.png': b'x', 'b.png': bytes(999)})[:1800], 'unexpected end of data'),
    ],
)
def test_what_is_no_shard_is_named(server: ShardServer, body: bytes | None, words: str) -> None:
    server.files = {} if body is None else {'train-0.tar': body}
    dataset = DATASETS.build(config(server, shards=f'{server.url}/train-0.tar', length=3), seed=0)
    errors = [error for number in range(3) if (error := dataset[number]['error'])]
    assert errors[0].startswith('RemoteShards: ')
    assert words in errors[0]
    assert f'{server.url}/train-0.tar' in errors[0]


def test_an_unreadable_image_is_counted_and_the_next_one_takes_its_place(
    server: ShardServer, caplog: pytest.LogCaptureFixture
) -> None:
    members = {f'{n}.png': encoded(picture(9, 9, n)) for n in range(12)} | {'3.png': b'broken'}
    server.files['train-0.tar'] = tar_of(members)
    one = config(server, shards=f'{server.url}/train-0.tar', length=12)
    found = batches(one, 8)
    assert all(len(batch['images']) == BATCH for batch in found)
    unreadable = UnreadableImages(12, 0.1, logging.getLogger('fvq'))
    assert all(unreadable.check(batch) for batch in found)
    assert unreadable.names == {f'{server.url}/train-0.tar:3.png'}
    with pytest.raises(UserError, match=r'1 of 12 images cannot be read, more than max_unreadable=0\.05 allows'):
        list(map(UnreadableImages(12, 0.05, logging.getLogger('fvq')).check, found))


def test_a_member_without_end_is_refused_before_it_fills_the_memory(
    server: ShardServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tar_stream, 'MAX_BYTES', 50_000)
    server.files['train-0.tar'] = tar_of({'a.png': bytes(200_000)})
    sample = DATASETS.build(config(server), seed=0)[0]
    assert 'has a member of more than 50,000 bytes' in sample['error']


def test_an_evaluation_set_that_is_shorter_than_its_length_says_so(server: ShardServer) -> None:
    loader = build_loader(dict(dataset=config(server, length=ALL + 1), batch_size=5), seed=0, train=False)
    assert list(loader)[-1]['error'] == 'RemoteShards: the stream ends after 24 images, fewer than length=25.'


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(length=None), 'length is missing'),
        (dict(lanes=0), 'lanes must be 1 or more, got 0'),
        (dict(shards='https://host/train-*.tar'), 'name the shards one by one or with braces'),
        (dict(shards='pipe:cat x.tar'), ''),
        (dict(shards='nonsense://host/x.tar'), 'Protocol not known: nonsense'),
    ],
)
def test_what_cannot_work_is_refused_at_the_start(server: ShardServer, changes: dict[str, Any], words: str) -> None:
    if not words:  # webdataset would run it in a shell; here it is the name of a file
        sample = DATASETS.build(config(server, **changes), seed=0)[0]
        assert 'pipe:cat x.tar cannot be read: there is no such file' in sample['error']
        return
    with pytest.raises(UserError, match=words):
        DATASETS.build(config(server, **changes), seed=0)


def test_a_pickled_data_set_opens_its_own_connections(server: ShardServer) -> None:
    dataset = DATASETS.build(config(server), seed=0)
    before = dataset[(0, 4)]
    again = pickle.loads(pickle.dumps(dataset))  # what a spawned worker gets
    assert isinstance(again, RemoteShards)
    assert not again.opened
    assert torch.equal(again[(0, 4)]['image'], before['image'])


def test_images_are_not_kept_on_the_device(server: ShardServer) -> None:
    with pytest.raises(UserError, match='on_device=True is for data that fit into memory'):
        build_loader(dict(dataset=config(server), batch_size=2, on_device=True), seed=0, train=True)


def test_a_damaged_shard_gives_images_or_reasons_and_never_another_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, 'WAITS', ())
    rng, whole, path, errors = random.Random(0), shard(0), tmp_path / 'x.tar', 0
    for _ in range(60):
        damaged = bytearray(whole[: rng.choice([len(whole), rng.randrange(1, len(whole))])])
        for _ in range(rng.randrange(4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        dataset = DATASETS.build(dict(type='RemoteShards', shards=str(path), length=PER_SHARD), seed=0)
        samples = [dataset[number] for number in range(PER_SHARD)]
        assert all(sample['image'] is not None or sample['unreadable'] or sample['error'] for sample in samples)
        errors += any(sample['error'] for sample in samples)
    assert errors > 5


def test_a_run_on_the_example_config_is_resumed_bit_for_bit(server: ShardServer, tmp_path: Path) -> None:
    run, url = tmp_path / 'run', f'{server.url}/train-{{0..{SHARDS - 1}}}.tar'
    data = [
        f'{which}_dataloader.dataset.{key}={value}'
        for which in ('train', 'val')
        for key, value in (('shards', f"'{url}'"), ('length', ALL))
    ]
    options = [*data, 'train_dataloader.dataset.lanes=2', 'train_dataloader.dataset.shuffle_block=4']
    options += ['train_dataloader.batch_size=3', 'train_dataloader.num_workers=0', 'val_dataloader.num_workers=0']
    options += ['train_cfg.max_iters=4', 'default_hooks.checkpoint.interval=2', 'default_hooks.curves=None']
    options += ['default_hooks.report=None', 'model.tokenizer.quantizer.codebook_size=64']
    arguments = [str(REPO / 'configs/remote/webdataset.py'), '--work-dir', str(run), '--cfg-options', *options]
    assert train.main(arguments) == 0
    whole = checkpoint(run / 'iter_4.pth')
    (run / 'iter_4.pth').unlink()
    assert train.main([*arguments[:3], '--resume', *arguments[3:]]) == 0
    again = checkpoint(run / 'iter_4.pth')
    assert whole['state_dict'].keys() == again['state_dict'].keys()
    assert all(torch.equal(value, again['state_dict'][key]) for key, value in whole['state_dict'].items())
