"""TensorBoard, W&B offline and MLflow get a run's curves, pictures, config and checkpoints, also when it is resumed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from fvq.commands import track
from fvq.tracking.run_ids import TRACKERS_NAME, known_id
from fvq_core.commands import train
from fvq_core.training.hooks.history import History

from ..cli.helpers import NO_REPORT, PHOTOS

OPTIONS = ['--cfg-options', *NO_REPORT, 'default_hooks.curves=None']
PICTURES, EVALUATED = ('codebook', 'reconstructions'), (4, 8, 9)


def run_and_resume(work_dir: Path, tracker: str) -> list[dict[str, Any]]:
    """A run of nine iterations that is resumed at the sixth from the config it kept; its history of training."""
    assert track.main([PHOTOS, '--work-dir', str(work_dir), '--track', tracker, *OPTIONS]) == 0
    (work_dir / 'iter_9.pth').unlink()
    kept = work_dir.parent / 'kept.py'
    shutil.copy(work_dir / 'config.py', kept)
    assert train.main([str(kept), '--work-dir', str(work_dir), '--resume']) == 0
    return [row for row in History(work_dir / 'history.jsonl').rows() if row['split'] == 'train']


def test_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows = run_and_resume(tmp_path / 'run', 'tensorboard')
    folders = list((tmp_path / 'run' / 'tensorboard').iterdir())
    assert len(folders) == 1, 'the resumed run has a folder of its own'
    assert not list((tmp_path / 'run').glob('*/vis_data')), "mmengine's own back-end writes the same once more"
    events = EventAccumulator(str(folders[0]), size_guidance={'images': 0, 'scalars': 0, 'tensors': 0}).Reload()
    losses = [(event.step, event.value) for event in events.Scalars('train/loss')]
    assert losses == [(row['iter'], pytest.approx(row['loss'], rel=1e-6)) for row in rows]
    for name in PICTURES:
        assert [event.step for event in events.Images(name)] == list(EVALUATED)
    # TensorBoard hides curves and pictures of after the checkpoint, and no texts.
    texts = {tag: sorted({event.step for event in events.Tensors(tag)}) for tag in events.Tags()['tensors']}
    assert texts == {'config/text_summary': [0], 'checkpoint/text_summary': [3, 6, 9]}
    config = events.Tensors('config/text_summary')[0].tensor_proto.string_val[0].decode()
    assert 'VQBridge' in config


def test_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip('wandb', reason='needs the extra fvq[track]')
    from .wandb_file import history, records

    monkeypatch.delenv('WANDB_MODE', raising=False)
    rows = run_and_resume(tmp_path / 'run', 'wandb')
    files = sorted((tmp_path / 'run' / 'wandb').glob('offline-run-*/run-*.wandb'))
    assert len(files) == 2
    assert len({path.name for path in files}) == 1, 'the parts have two ids, and would be two runs when synchronized'
    first, second = map(history, files)
    losses = {row['iter']: row['train/loss'] for row in [*first, *second] if 'train/loss' in row}
    assert losses == {row['iter']: row['loss'] for row in rows}
    assert min(row['iter'] for row in second) > 6
    for name in PICTURES:
        assert [row['iter'] for row in first if name in row] == list(EVALUATED)
    text = ' '.join(map(str, records(files[0])))
    assert 'VQBridge' in text
    assert all(f'iter_{number}.pth' in text for number in (3, 6, 9))
    assert sum(path.stat().st_size for path in (tmp_path / 'run' / 'wandb').rglob('*') if path.is_file()) < 2**21


def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip('mlflow', reason='needs the extra fvq[track]')
    monkeypatch.delenv('MLFLOW_TRACKING_URI', raising=False)
    rows = run_and_resume(tmp_path / 'run', 'mlflow')
    assert 'MLFLOW_TRACKING_URI' not in os.environ, 'the next run of this process would write into this store'
    store = tmp_path / 'run' / 'mlflow'
    client = mlflow.MlflowClient(f'sqlite:///{store}/mlflow.db')
    (run,) = client.search_runs([client.get_experiment_by_name('fvq').experiment_id])
    assert (run.info.status, run.info.run_name) == ('FINISHED', 'run')
    points = client.get_metric_history(run.info.run_id, 'train/loss')
    assert {point.step: point.value for point in points} == {row['iter']: row['loss'] for row in rows}
    assert run.data.params['model.tokenizer.quantizer.projector.type'] == 'VQBridge'
    artifacts = store / 'artifacts' / run.info.run_id / 'artifacts'
    for name in PICTURES:
        found = sorted({int(path.name.split('+')[2]) for path in (artifacts / 'images').glob(f'{name}+step+*.png')})
        assert found == list(EVALUATED)
    facts = json.loads((artifacts / 'checkpoints/iter_9.json').read_text())
    assert facts['bytes'] == (tmp_path / 'run' / 'iter_9.pth').stat().st_size
    assert not list(store.rglob('*.pth'))


@pytest.mark.parametrize('known', ['../../elsewhere', '/tmp/elsewhere', '.', '', 'a/b', 'a' * 200, 7, None])
def test_a_strangers_work_dir_cannot_lead_records_out_of_it(tmp_path: Path, known: object) -> None:
    (tmp_path / TRACKERS_NAME).write_text(json.dumps({'tensorboard': known, 'wandb': '0f3a-B_9'}))
    config = Config(dict(work_dir=str(tmp_path), resume=True))
    assert known_id(config, 'tensorboard') is None
    assert known_id(config, 'wandb') == '0f3a-B_9'
