"""mmengine's Runner with what breaks on today's torch mended, and checkpoints of our own.

What is ours, and why (mmengine 0.10.7 under torch >= 2.6):

- checkpoints hold plain values and tensors only, so `weights_only=True` loads them; mmengine's cannot be resumed;
- they are written atomically, and a broken newest one is passed over;
- weights must fit exactly; mmengine loads what fits and warns;
- the schedule is given the run's length when it is built;
- the console is kept for people: no environment dump, no table of hooks.
"""

from __future__ import annotations

import itertools
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import mmengine.runner
import torch
from mmengine.dist import master_only
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapperDict

from .. import __version__
from ..atomic_files import write_atomically
from ..config_data import RESOLVED_CONFIG, config_data, config_text
from ..errors import MISTAKES, UserError, as_user_error
from ..json_files import write_json
from ..pretrained import load_weights
from ..registry import PARAM_SCHEDULERS, RUNNERS, SCOPE, build_component
from ..tasks.task import Task
from .checkpoint import CheckpointError, list_checkpoints, newest_readable, read_checkpoint, write_checkpoint
from .distributed import choose_device, join_group
from .optim_wrapper import build_optim_wrappers
from .start_weights import find_start_weights
from .train_loop import TrainLoop

HISTORY_NAME = 'history.jsonl'
STOCK_HOOKS = ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint')
_runs_of_this_process = itertools.count()


@RUNNERS.register_module()
class Runner(mmengine.runner.Runner):
    """Built from a config by `Runner.from_cfg`, like mmengine's."""

    @classmethod
    def from_cfg(cls, cfg: Any) -> Runner:
        cfg.setdefault('default_scope', SCOPE)
        join_group(cfg.get('launcher', 'none'), cfg.get('device', 'auto'))
        return cast(Runner, super().from_cfg(cfg))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._config_data: dict[str, Any] | None = None
        super().__init__(*args, **kwargs)
        level = self.cfg.get('log_level', 'INFO')
        self.logger.setLevel(level)
        for handler in self.logger.handlers:
            handler.setLevel(level)

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        super().setup_env(env_cfg)
        # mmengine names what it keeps of a run by the second; two runs of one process may start in the same one.
        number = next(_runs_of_this_process)
        if number:
            self._timestamp = f'{self._timestamp}_{number}'

    def register_default_hooks(self, hooks: dict[str, Any] | None = None) -> None:
        # None leaves a hook out: one of mmengine's own, or one of ours, which mmengine's method would trip over.
        hooks = {name: hook for name, hook in (hooks or {}).items() if hook is not None or name in STOCK_HOOKS}
        super().register_default_hooks(hooks)

    def build_logger(self, log_level: int | str = 'INFO', log_file: str | None = None, **kwargs: Any) -> MMLogger:
        # Quiet while the Runner is being set up: mmengine would print the environment, the config and every hook.
        kwargs.setdefault('logger_name', 'fvq')
        logger = super().build_logger(log_level=logging.WARNING, log_file=log_file, **kwargs)
        # mmengine expects a Python package named like the scope and warns that there is no `fvq`; there need not be one.
        logger.addFilter(lambda record: 'Failed to import `None.registry`' not in record.getMessage())
        return logger

    def _log_env(self, env_cfg: dict[str, Any]) -> None:
        """Versions go into `metrics.json` and the checkpoint; collecting the environment costs a second."""

    def _init_model_weights(self) -> None:
        """Modules set their own start values when they are built."""

    def wrap_model(self, model_wrapper_cfg: Any, model: torch.nn.Module) -> torch.nn.Module:
        return cast(Task, model).place(choose_device(self.cfg.get('device', 'auto')))

    def build_optim_wrapper(self, optim_wrapper: Any) -> OptimWrapperDict:  # pyrefly: ignore[bad-override]
        if isinstance(optim_wrapper, OptimWrapperDict):
            return optim_wrapper
        return build_optim_wrappers(optim_wrapper, self.task.parts())

    def scale_lr(self, optim_wrapper: Any, auto_scale_lr: dict[str, Any] | None = None) -> None:
        # mmengine's knows nothing of accumulated micro-batches.
        if not auto_scale_lr or not auto_scale_lr.get('enable', False):
            return
        ratio = cast(TrainLoop, self.train_loop).global_batch_size / auto_scale_lr['base_batch_size']
        for wrapper in optim_wrapper.values():
            for group in wrapper.optimizer.param_groups:
                group['lr'] *= ratio

    def _build_param_scheduler(self, scheduler: Any, optim_wrapper: Any) -> list[Any]:
        schedulers = scheduler if isinstance(scheduler, list | tuple) else [scheduler]
        given = dict(optimizer=optim_wrapper, total_iters=self.max_iters)
        return [build_component(cfg, PARAM_SCHEDULERS, **given) for cfg in schedulers]

    def load_or_resume(self) -> None:
        if self._has_loaded:
            return
        if isinstance(self._resume, str):  # a checkpoint, whereas `load_from` is where the run began
            self.resume(self._resume)
        elif not self._resume or not self._resume_newest():
            # Read first: it may lie in the run that is set aside.
            start = self._load_from and find_start_weights(self.task, self._load_from, self.cfg.get('load_weights'))
            if not self._resume:
                self._set_aside_old_run()
            if start:
                start.load(self.task)
                self.logger.info(start.said)
        self._has_loaded = True

    def _resume_newest(self) -> bool:
        """Continue from the newest checkpoint of the work dir, if there is one."""
        found = newest_readable(self.work_dir, self.logger)
        if found is None:
            self.logger.warning(f'--resume: no checkpoint in {self.work_dir} yet, so this run starts afresh.')
            return False
        self._resume_checkpoint(*found)
        return True

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        """Continue from a checkpoint file, exactly."""
        self._resume_checkpoint(Path(filename), read_checkpoint(filename))

    @property
    def task(self) -> Task:
        """What is trained."""
        return cast(Task, self.model)

    def _resume_checkpoint(self, path: Path, checkpoint: dict[str, Any]) -> None:
        meta = checkpoint.get('meta', {})
        if 'optimizer' not in checkpoint or 'iter' not in meta:
            raise UserError(
                f'{path} holds weights alone and cannot be resumed; use load_from={path} to start from them.'
            )
        if type(meta['iter']) is not int or meta['iter'] < 0 or type(meta.get('seed')) is not int:
            raise CheckpointError(f"{path}: 'iter' or 'seed' in 'meta' is not a whole number, which no run writes.")
        if meta['seed'] != self.seed:
            raise UserError(
                f'{path} was made with seed {meta["seed"]}, this run has {self.seed}; pass --seed {meta["seed"]}.'
            )
        if meta['iter'] > self.max_iters:
            raise UserError(
                f'{path} is at iteration {meta["iter"]}, beyond max_iters={self.max_iters}; raise max_iters.'
            )
        try:
            self._restore(checkpoint, str(path))
        except UserError:
            raise
        except MISTAKES as error:
            raise as_user_error(error, f'{path} cannot be resumed') from error
        self._has_loaded = True
        self.logger.info(f'resumed {path} at iteration {meta["iter"]}')

    def _restore(self, checkpoint: dict[str, Any], source: str) -> None:
        """Take over weights, the state of optimizers and schedulers, and what hooks keep."""
        self.call_hook('before_resume', checkpoint=checkpoint)
        load_weights(self.task, checkpoint['state_dict'], source)
        optimizers = cast(OptimWrapperDict, self.optim_wrapper)
        if set(optimizers.keys()) != set(checkpoint['optimizer']):  # mmengine loads those that are there
            raise CheckpointError(
                f'{source} has the state of optimizers {sorted(checkpoint["optimizer"])}, this run has '
                f'{sorted(optimizers.keys())}; resume with the config of that run.'
            )
        optimizers.load_state_dict(checkpoint['optimizer'])
        for name, schedulers in cast(dict[str, list[Any]], self.param_schedulers or {}).items():
            for scheduler, state in zip(schedulers, checkpoint['param_schedulers'][name], strict=True):
                scheduler.load_state_dict(state)
        cast(TrainLoop, self.train_loop)._iter = checkpoint['meta']['iter']
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)

    @master_only
    def _set_aside_old_run(self) -> None:
        """A fresh run in an old work dir moves what the old one must not be mixed with into `previous_N`."""
        work_dir = Path(self.work_dir)
        old = [*list_checkpoints(work_dir), *(p for p in [work_dir / HISTORY_NAME] if p.exists())]
        if not old:
            return
        number = 1 + max([int(p.name[9:]) for p in work_dir.glob('previous_*') if p.name[9:].isdigit()], default=0)
        aside = work_dir / f'previous_{number}'
        aside.mkdir()
        for path in [*old, *(p for p in [work_dir / 'metrics.json'] if p.exists())]:
            shutil.move(path, aside / path.name)
        self.logger.info(f'moved the earlier run to {aside}; use --resume to continue a run instead')

    @master_only
    def save_checkpoint(self, out_dir: str, filename: str) -> None:
        """Write everything a resumed run needs, as plain values and tensors."""
        cast(TrainLoop, self.train_loop).check_finite()
        checkpoint = {
            'meta': {
                'iter': self.iter,
                'seed': self.seed,
                'fvq_version': __version__,
                'torch_version': str(torch.__version__),
                'config': self.config_data,
            },
            'state_dict': {key: value.detach().cpu() for key, value in self.task.state_dict().items()},
            'optimizer': cast(OptimWrapperDict, self.optim_wrapper).state_dict(),
            'param_schedulers': {
                name: [scheduler.state_dict() for scheduler in schedulers]
                for name, schedulers in cast(dict[str, list[Any]], self.param_schedulers or {}).items()
            },
        }
        self.call_hook('before_save_checkpoint', checkpoint=checkpoint)
        write_checkpoint(checkpoint, Path(out_dir) / filename)

    @property
    def config_data(self) -> dict[str, Any]:
        """The resolved config as data, which is what a run keeps of it."""
        if self._config_data is None:
            self._config_data = config_data(self.cfg.to_dict())
        return self._config_data

    def dump_config(self) -> None:
        """The resolved config: as data for other commands, and as `config.py` for people and `tools/train.py --resume`."""
        if self.rank == 0:
            work_dir = Path(self.work_dir)
            write_json(work_dir / RESOLVED_CONFIG, self.config_data)
            write_atomically(
                work_dir / 'config.py', config_text(self.cfg.to_dict()).encode(), 'Nothing was trained yet.'
            )


def versions() -> Mapping[str, str]:
    """What the numbers of a run depend on."""
    import platform

    import numpy

    return {
        'fvq': __version__,
        'torch': str(torch.__version__),
        'mmengine': mmengine.__version__,
        'numpy': numpy.__version__,
        'python': platform.python_version(),
    }
