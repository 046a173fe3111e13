"""`tools/check_data.py` reads a stream once, counts it, and prints the lines of a config that use it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fvq_core.registry import DATASETS
from fvq_eval.commands.check_data import main

from .shard_server import encoded, picture, serve, shard, tar_of

pytest.importorskip('datasets', reason='needs the extra fvq[data]')
pytest.importorskip('webdataset', reason='needs the extra fvq[data]')

import fvq.remote_data  # noqa: F401


@pytest.fixture(autouse=True)
def own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr(datasets.config, 'HF_DATASETS_CACHE', tmp_path / 'hf')


def test_shards_over_http_are_counted_decoded_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    with serve() as server:
        server.files = {'0.tar': shard(0), '1.tar': tar_of({'a.png': encoded(picture(9, 9)), 'b.png': b'broken'})}
        address = f'{server.url}/{{0..1}}.tar'
        assert main(['webdataset', address, '--decode', '99']) == 0
        out = capsys.readouterr().out
        assert f'{address}: 8 images in 2 shards, 6 with a label' in out
        assert 'decoded 8, 1 unreadable; short sides 9 to 10' in out
        assert f'odd: unreadable, and skipped by a run: {server.url}/1.tar:b.png' in out
        assert f"type='RemoteShards', shards='{address}', length=8" in out
        assert main(['webdataset', f'{server.url}/9.tar']) == 2
        assert (
            f'error: RemoteShards: {server.url}/9.tar cannot be read: there is no such file.' in capsys.readouterr().err
        )


@pytest.mark.parametrize('kind', ['huggingface', 'huggingface-stream'])
def test_tables_and_streams_of_rows_are_counted(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import datasets

    table = {'jpeg': [encoded(picture(12, 10, number)) for number in range(5)], 'class': [0, 1, None, 1, 2]}
    datasets.Dataset.from_dict(table).to_parquet(tmp_path / 'x.parquet')
    files = ['--data-files', str(tmp_path / 'x.parquet')]
    assert main([kind, 'parquet', *files, '--image', 'jpeg', '--label', 'class', '--decode', '9']) == 0
    out = capsys.readouterr().out
    assert f'parquet ({tmp_path / "x.parquet"}): 5 images' in out
    assert '4 with a label' in out
    assert 'decoded 5, 0 unreadable; short sides 10 to 10' in out
    assert "image='jpeg', label='class'" in out
    assert main([kind, 'parquet', *files]) == 2
    assert "has no column 'image'; " in capsys.readouterr().err


def test_options_of_another_kind_and_a_missing_package_are_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(['folder', 'x', '--data-files', 'y']) == 2
    assert '--data-files is for huggingface, not for folder.' in capsys.readouterr().err
    monkeypatch.setattr(DATASETS, 'registered', lambda name: None)
    assert main(['webdataset', 'https://host/x.tar']) == 2
    assert 'this data set is part of the package fvq; pip install "fvq[data]"' in capsys.readouterr().err
