"""The process of one run: `python -m fvq_eval.benchmark.worker FOLDER` trains the folder's plan."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from fvq_core.config.data import from_data
from fvq_core.errors import UserError
from fvq_core.files.json import read_json_object, write_json
from fvq_core.images import to_uint8
from fvq_core.registry import load_plugins
from fvq_core.stamp import versions
from fvq_core.training.checkpoint import list_checkpoints
from fvq_core.training.hooks.history import HISTORY_NAME, History
from fvq_core.training.runner import Runner
from fvq_core.training.train_loop import TrainLoop

from .run import FINISHED, MEMORY_SHARE, PLAN, REQUEST, RESULT, failure, is_finished
from .run_process import BUSY, WATCHED, FolderBusyError, alone_in, end_with_parent
from .time_limit import stop_in_time
from .training_cost import TrainingCost, resident_peak_mib

SAMPLES, SAMPLES_NAME = 8, 'samples.npz'
REMEDY = 'delete the folder of the run'


def train(folder: Path, cost: TrainingCost) -> dict[str, Any]:
    """Train, or continue where the run stopped, and return the numbers and the cost.

    Args:
        cost: Measures; it knows what a run that fails has taken.
    """
    stop_in_time()
    request = read_json_object(folder / REQUEST, REMEDY)
    # The benchmark that started this process has just written both files; the plan may import what its config imports.
    cfg = Config(from_data(read_json_object(folder / PLAN, REMEDY)))
    if cfg.get('custom_imports'):
        import_modules_from_strings(**cfg.custom_imports)
    object.__setattr__(cfg, '_filename', request['config'])
    cfg.work_dir = str(folder)
    cfg.resume = bool(list_checkpoints(folder))
    load_plugins()
    if MEMORY_SHARE in os.environ:
        torch.cuda.set_per_process_memory_fraction(float(os.environ[MEMORY_SHARE]))
    cost.imported_mib = resident_peak_mib()
    runner = Runner.from_cfg(cfg)
    device = next(runner.task.parameters()).device
    cost.on_gpu = on_gpu = device.type == 'cuda'
    runner.register_hook(cost, priority='VERY_LOW')  # before the report, which is not training
    runner.train()
    save_samples(runner, folder / SAMPLES_NAME)
    for checkpoint in list_checkpoints(folder)[1:]:
        checkpoint.unlink()
    batch_size = cast(TrainLoop, runner.train_loop).global_batch_size
    metrics = read_json_object(folder / 'metrics.json')['metrics']
    training = cost.seconds
    # Of a run that was stopped in between, what its other legs took is not known.
    other = None if cfg.resume else round(max(0.0, time.time() - request['started'] - training), 1)
    broken = [name for name, metric in metrics.items() if metric['value'] is None]
    if broken:
        raise UserError(f'{", ".join(broken)} of the trained model: expected finite numbers, got others.')
    return {
        'status': FINISHED,
        'metrics': metrics,
        'learning_rate': cfg.optim_wrapper.optimizer.lr,
        'steps': runner.max_iters,
        'batch_size': batch_size,
        'seconds': round(training, 1),
        'other_seconds': other,  # start, evaluation, report
        'steps_per_second': speed(folder, batch_size),
        'peak_memory_mib': cost.peak_mib,
        'memory_is': 'allocated on the GPU in training'
        if on_gpu
        else 'resident memory of the process in training, beyond its imports',
        'device': torch.cuda.get_device_name() if on_gpu else f'CPU ({platform.machine()})',
        'threads': torch.get_num_threads(),
        'versions': versions(),
    }


def speed(folder: Path, batch_size: int) -> float:
    """Steps a second: the median over the logged intervals, so that evaluations and a slow start do not count."""
    rows = [row for row in History(folder / HISTORY_NAME).rows() if row['split'] == 'train']
    return statistics.median(row['images_per_second'] for row in rows) / batch_size


@torch.no_grad()
def save_samples(runner: Any, path: Path) -> None:
    """The first evaluation images and what the trained model makes of them, uint8 (B, 3, H, W)."""
    batch = next(batch for batch in runner.val_loop.dataloader if batch['images'] is not None)
    evaluated = runner.task.eval().val_step(batch)
    images, output = evaluated.images[:SAMPLES], evaluated.output.reconstruction[:SAMPLES]
    np.savez(path, images=to_uint8(images).cpu().numpy(), reconstructions=to_uint8(output).cpu().numpy())


def main(folder: Path) -> int:
    """Train and leave `result.json`, whatever happens; an interrupted run leaves none and is continued later.

    Returns:
        The exit code: 0, also if another process has just finished the run, 1 for a failure, 130 for an interruption, `BUSY`
        if another process trains in the folder.
    """
    warnings.filterwarnings('ignore', category=DeprecationWarning)
    warnings.filterwarnings('ignore', category=FutureWarning)
    try:
        with alone_in(folder):
            return 0 if is_finished(folder) else train_and_report(folder)
    except FolderBusyError as error:
        print(error)
        return BUSY


def train_and_report(folder: Path) -> int:
    """See `main`."""
    cost = TrainingCost()
    try:
        result = train(folder, cost)
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # the benchmark goes on with its other rows, and reports this one
        traceback.print_exc()
        result = {**failure(error), 'seconds': round(cost.seconds, 1)}
    write_json(folder / RESULT, result)
    return 0 if result['status'] == FINISHED else 1


if __name__ == '__main__':
    if WATCHED in sys.argv[2:]:
        end_with_parent()
    sys.exit(main(Path(sys.argv[1])))
