"""A tracker that fails, hangs or is too slow costs one warning; the run ends as it would have without."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from mmengine.visualization.vis_backend import BaseVisBackend

from fvq.commands import track
from fvq.tracking import trackers as trackers_module
from fvq.tracking.tracker import Tracker
from fvq.tracking.trackers import Trackers
from fvq_core.registry import VISUALIZER_BACKENDS
from fvq_core.training.hooks.history import History
from fvq_core.training.hooks.training_log_hook import SPEED_KEYS

from ..cli.helpers import NO_REPORT, PHOTOS

METHODS = ('add_config', 'add_scalars', 'add_image', 'add_checkpoint', 'close')


class Fake(BaseVisBackend):
    """Notes what it is told, and fails or hangs where it is asked to."""

    fails: ClassVar[dict[str, BaseException | threading.Event]] = {}

    def __init__(self, save_dir: str | None = None) -> None:
        super().__init__(save_dir or '')
        self.told: list[tuple[Any, ...]] = []

    def _init_env(self) -> None:
        """Nothing to start."""

    @property
    def experiment(self) -> list[tuple[Any, ...]]:
        return self.told

    def _note(self, method: str, *arguments: Any) -> None:
        fault = self.fails.get(method)
        if isinstance(fault, threading.Event):
            fault.wait(30)
        elif fault is not None:
            raise fault
        self.told.append((method, *arguments))

    def add_config(self, config: Any, **kwargs: Any) -> None:
        self._note('add_config', config)

    def add_scalars(self, scalar_dict: dict, step: int = 0, file_path: str | None = None, **kwargs: Any) -> None:
        self._note('add_scalars', scalar_dict, step)

    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        self._note('add_image', name, image, step)

    def add_checkpoint(self, facts: dict[str, Any], step: int) -> None:
        self._note('add_checkpoint', facts, step)

    def unfinished(self) -> None:
        self._note('unfinished')

    def close(self) -> None:
        self._note('close')


@VISUALIZER_BACKENDS.register_module()
class Recording(Fake):
    """Works, and is kept for a look at what it was told."""

    last: ClassVar[Recording]

    def __init__(self, save_dir: str | None = None) -> None:
        super().__init__(save_dir)
        Recording.last = self


for method in METHODS:
    fault = RuntimeError(f'no {method}\nin two lines')
    VISUALIZER_BACKENDS.register_module(
        name=f'fails_in_{method}', module=type(f'FailsIn{method}', (Fake,), {'fails': {method: fault}})
    )


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line.getMessage() for line in caplog.records if 'is off from here on' in line.getMessage()]


def history(work_dir: Path) -> list[dict[str, Any]]:
    rows = History(work_dir / 'history.jsonl').rows()
    return [{key: value for key, value in row.items() if key not in SPEED_KEYS} for row in rows]


def test_a_run_ends_as_it_would_have_whatever_its_trackers_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger('fvq'), 'propagate', True)
    from fvq_core.commands import train

    options = ['--cfg-options', *NO_REPORT, 'visualizer.vis_backends=[]', 'default_hooks.curves=None']
    assert train.main([PHOTOS, '--work-dir', str(tmp_path / 'plain'), *options]) == 0
    names = [f'fails_in_{method}' for method in METHODS]
    tracked = [PHOTOS, '--work-dir', str(tmp_path / 'tracked'), '--track', *names, 'Recording', *options]
    assert track.main(tracked) == 0

    assert history(tmp_path / 'tracked') == history(tmp_path / 'plain') != []
    told = warnings_of(caplog)
    assert len(told) == len(METHODS)
    for method in METHODS:
        words = f'the tracker fails_in_{method} is off from here on: RuntimeError: no {method} in two lines.'
        assert sum(words in line for line in told) == 1

    record = Recording.last.told
    assert record[0][0] == 'add_config'
    assert record[-1] == ('close',)
    steps = [step for kind, _, step in (each for each in record if each[0] == 'add_scalars')]
    assert steps == [row['iter'] for row in history(tmp_path / 'plain')]
    pictures = [(name, step, image.dtype, image.ndim) for kind, name, image, step in (e for e in record if len(e) == 4)]
    assert {(name, step) for name, step, *_ in pictures} == {
        (n, s) for n in ('reconstructions', 'codebook') for s in (4, 8, 9)
    }
    assert {each[2:] for each in pictures} == {(np.dtype('uint8'), 3)}
    checkpoints = [facts for kind, facts, _ in (each for each in record if each[0] == 'add_checkpoint')]
    assert [facts['iter'] for facts in checkpoints] == [3, 6, 9]
    assert all(facts['bytes'] > 1000 and facts['seed'] == 0 for facts in checkpoints)
    assert 'psnr' in checkpoints[-1]['metrics']
    assert 'metrics' not in checkpoints[0]


@pytest.mark.parametrize(
    ('method', 'words'),
    [
        ('add_config', 'it did not start within 0.2 s'),
        ('close', 'it did not end within 0.2 s'),
        ('add_scalars', 'it did not end within 0.2 s|it is too slow'),
    ],
)
def test_a_tracker_that_hangs_holds_nobody_up(method: str, words: str, caplog: pytest.LogCaptureFixture) -> None:
    released = threading.Event()
    backend = type('Hangs', (Fake,), {'fails': {method: released}})()
    tracker = Tracker('slow', backend, start_timeout=0.2, close_timeout=0.2)
    started = time.monotonic()
    tracker.add_config({})
    for step in range(50):
        tracker.add_scalars({'loss': 1.0}, step)
    tracker.close()
    assert time.monotonic() - started < 5
    assert len(caplog.records) == 1
    assert any(part in caplog.text for part in words.split('|'))
    released.set()
    tracker.thread.join(5)


def test_a_tracker_with_too_many_records_waiting_is_off(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr('fvq.tracking.tracker.CAPACITY', 5)
    released = threading.Event()
    tracker = Tracker('slow', type('Hangs', (Fake,), {'fails': {'add_scalars': released}})(), close_timeout=0.2)
    tracker.add_config({})
    for step in range(50):
        tracker.add_scalars({'loss': 1.0}, step)
    tracker.close()
    assert [line.getMessage() for line in caplog.records] == [
        'the tracker slow is off from here on: it is too slow: 5 records are waiting. The run goes on.'
    ]
    released.set()
    tracker.thread.join(5)
    assert len(tracker.backend.told) <= 2  # what waits for a tracker that is off is dropped


@pytest.mark.parametrize('error', [SystemExit(1), KeyboardInterrupt(), OSError(28, 'No space left on device')])
def test_what_a_library_raises_never_reaches_the_run(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    backend = type('Fails', (Fake,), {'fails': {'add_scalars': error}})()
    tracker = Tracker('fails', backend)
    tracker.add_config({})
    tracker.add_scalars({'loss': 1.0}, 1)
    tracker.thread.join(5)
    assert len(caplog.records) == 1
    assert backend.told[-1] == ('close',), 'what was recorded before is not closed'


def test_values_of_a_record_are_those_of_its_time() -> None:
    backend = Fake()
    tracker = Tracker('record', backend)
    tracker.add_config({})
    scalars, image = {'loss': 1.0}, np.zeros((2, 2, 3), np.uint8)
    tracker.add_scalars(scalars, 1)
    tracker.add_image('x', image, 1)
    scalars['loss'], image[:] = 2.0, 9
    tracker.close()
    assert backend.told[1][1] == {'loss': 1.0}
    assert not backend.told[2][2].any()


def test_only_rank_0_has_trackers(monkeypatch: pytest.MonkeyPatch) -> None:
    for main in (True, False):
        monkeypatch.setattr(trackers_module, 'is_main_process', lambda main=main: main)
        visualizer = Trackers(f'rank {main}', [dict(type='Recording')])
        assert list(visualizer._vis_backends) == (['Recording'] if main else [])
        visualizer._vis_backends.clear()
        visualizer.close()


def test_a_run_that_stops_early_is_marked_so() -> None:
    backend = Fake()
    tracker = Tracker('record', backend)
    tracker.add_config({})
    tracker.close(finished=False)
    assert backend.told[-2:] == [('unfinished',), ('close',)]


@pytest.mark.parametrize(
    ('names', 'words'),
    [
        (['wnadb'], "'wnadb' is not registered; did you mean 'wandb'?"),
        (['os.system'], "--track os.system: not a back-end of mmengine's visualizer"),
    ],
)
def test_an_unknown_tracker_is_refused_before_anything_is_written(
    names: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert track.main([PHOTOS, '--work-dir', str(tmp_path / 'run'), '--track', *names]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / 'run').exists()


def test_a_library_that_is_missing_costs_one_line_with_its_extra(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('fvq.tracking.track_config.importlib.util.find_spec', lambda name: None)
    assert track.main([PHOTOS, '--work-dir', str(tmp_path / 'run'), '--track', 'mlflow']) == 2
    assert '--track mlflow: mlflow is not installed; pip install "fvq[track]".' in capsys.readouterr().err
