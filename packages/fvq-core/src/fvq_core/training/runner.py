"""mmengine's Runner, with what breaks under current torch repaired, and with checkpoints of our own.

What is ours, and why (mmengine 0.10.7 under torch >= 2.6):

- checkpoints hold plain values and tensors only, so `weights_only=True` loads them; mmengine's cannot be resumed;
- they are written atomically, and broken ones are skipped;
- weights must fit exactly; mmengine loads what fits and warns;
- the schedule is given the run's length when it is built;
- the console is for people: no environment dump, no table of hooks.
"""

from __future__ import annotations

import copy
import itertools
import logging
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import mmengine.runner
import torch
from mmengine.config import Config
from mmengine.dist import master_only
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapperDict

from .. import __version__
from ..config.data import RESOLVED_CONFIG, config_data, config_text, from_data, plain_values
from ..errors import UserError, user_errors
from ..files.atomic import write_atomically
from ..files.format_version import FORMAT_VERSION
from ..files.json import write_json
from ..ops.distributed import TIMEOUT_S, choose_device, join_group
from ..ops.meeting import Meeting
from ..registry import RUNNERS, SCOPE
from ..saving.weights import load_weights
from .checkpoint import CheckpointError, newest_readable, read_checkpoint, write_checkpoint
from .optim_wrapper import build_optim_wrappers
from .resume import check_resumable, keep_global_batch, resume_optimizer, resume_schedulers
from .run_parts import RunParts, build_run_parts
from .schedules.build_schedulers import build_schedulers, scheduler_state
from .set_aside import set_aside_later, set_aside_run
from .tasks.task import Task
from .train_loop import TrainLoop

_runs_of_this_process = itertools.count()


@RUNNERS.register_module()
class Runner(mmengine.runner.Runner):
    """Trains what `build_run_parts` built of a config.

    Attributes:
        last_log: The last logged row of training figures, by name; empty before the first.
    """

    optim_wrapper: Any  # an `OptimWrapperDict`
    param_schedulers: Any  # a list for each part

    @classmethod
    def from_cfg(cls, cfg: Config) -> Runner:  # pyrefly: ignore[bad-override]
        """Join the other processes, build and check everything with `build_run_parts`, and only then make the work dir."""
        cfg = copy.deepcopy(cfg)
        join_group(cfg.get('launcher', 'none'), cfg.get('device', 'auto'), cfg.get('timeout', TIMEOUT_S))
        if cfg.get('resume_elastic'):
            keep_global_batch(cfg)
        parts = build_run_parts(cfg)
        with user_errors('this config cannot be used'):  # mmengine's part of it: env_cfg, visualizer
            return cls(cfg, parts)

    def __init__(self, cfg: Config, parts: RunParts) -> None:
        self._start_weights = parts.start
        self.meeting = Meeting(cfg.get('timeout', TIMEOUT_S))
        self.last_log: dict[str, Any] = {}
        validates = parts.val_loader is not None
        super().__init__(
            model=parts.task,
            work_dir=cfg.work_dir,
            train_dataloader=parts.train_loader,
            train_cfg={'type': 'TrainLoop', **cfg.train_cfg},
            val_dataloader=parts.val_loader,
            val_cfg={'type': 'EvaluationLoop', **cfg.val_cfg} if validates else None,
            val_evaluator=cast(Any, parts.metrics) if validates else None,
            optim_wrapper=cfg.optim_wrapper,
            param_scheduler=cfg.get('param_scheduler'),
            auto_scale_lr=cfg.get('auto_scale_lr'),
            custom_hooks=cast(Any, parts.hooks),
            load_from=cfg.get('load_from'),
            resume=cfg.get('resume', False),
            launcher=cfg.get('launcher', 'none'),
            env_cfg=cfg.get('env_cfg', {}),
            log_level=cfg.get('log_level', 'INFO'),
            visualizer=cfg.get('visualizer'),
            default_scope=cfg.get('default_scope', SCOPE),
            randomness=parts.randomness,
            cfg=Config(from_data(plain_values(cfg.to_dict())), cfg.text, cfg.filename),  # which mmengine prints
        )
        for logger in (self.logger, *self.logger.handlers):
            logger.setLevel(self.cfg.get('log_level', 'INFO'))

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        super().setup_env(env_cfg)
        # mmengine names its files by the second, and two runs of one process may start in the same second.
        if number := next(_runs_of_this_process):
            self._timestamp = f'{self._timestamp}_{number}'

    def register_default_hooks(self, hooks: Any = None) -> None:
        """Nothing: `RunParts.hooks` has all of them."""

    def build_logger(self, log_level: int | str = 'INFO', log_file: str | None = None, **kwargs: Any) -> MMLogger:
        # Quiet while the Runner is being set up: mmengine would print the environment, the config and every hook.
        kwargs.setdefault('logger_name', 'fvq')
        logger = super().build_logger(log_level=logging.WARNING, log_file=log_file, **kwargs)
        # mmengine looks for a Python package named like the scope and warns that there is no `fvq`; none is needed.
        logger.addFilter(lambda record: 'Failed to import `None.registry`' not in record.getMessage())
        return logger

    def _log_env(self, env_cfg: dict[str, Any]) -> None:
        """Nothing: versions go into `metrics.json` and checkpoints, and collecting the environment takes a second."""

    def _init_model_weights(self) -> None:
        """Nothing: modules initialize their weights when they are built."""

    def wrap_model(self, model_wrapper_cfg: Any, model: torch.nn.Module) -> torch.nn.Module:
        return cast(Task, model).place(choose_device(self.cfg.get('device', 'auto')), self.cfg.get('ddp'))

    def build_optim_wrapper(self, optim_wrapper: Any) -> OptimWrapperDict:  # pyrefly: ignore[bad-override]
        if isinstance(optim_wrapper, OptimWrapperDict):
            return optim_wrapper
        return build_optim_wrappers(optim_wrapper, self.task.parts())

    def scale_lr(self, optim_wrapper: Any, auto_scale_lr: dict[str, Any] | None = None) -> None:
        # mmengine's ignores accumulated micro-batches.
        if not auto_scale_lr or not auto_scale_lr.get('enable', False):
            return
        ratio = cast(TrainLoop, self.train_loop).global_batch_size / auto_scale_lr['base_batch_size']
        for wrapper in optim_wrapper.values():
            for group in wrapper.optimizer.param_groups:
                group['lr'] *= ratio

    def build_param_scheduler(self, scheduler: Any) -> dict[str, list[Any]]:  # pyrefly: ignore[bad-override]
        loop = cast(TrainLoop, self.train_loop)
        return build_schedulers(scheduler, dict(self.optim_wrapper.items()), loop.max_iters, loop.iters_per_epoch)

    def train(self) -> torch.nn.Module:
        with self.meeting.watch():
            return super().train()

    def load_or_resume(self) -> None:
        if self._has_loaded:
            return
        found = None
        if isinstance(self._resume, str):  # the path of a checkpoint; `load_from` is where the run began
            found = Path(self._resume), read_checkpoint(self._resume)
        elif self._resume:
            found = newest_readable(self.work_dir, self.logger)
            if found is None:
                self.logger.warning(f'--resume: no checkpoint in {self.work_dir} yet, so this run starts from scratch.')
        if found is not None:
            self._resume_checkpoint(*found)
        else:
            start, self._start_weights = self._start_weights, None
            if not self._resume:
                set_aside_run(Path(self.work_dir), self.logger)
            if start is not None:
                start.load(self.task)
                self.logger.info(start.summary)
        self._has_loaded = True

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        """Continue from a checkpoint file, exactly."""
        self._resume_checkpoint(Path(filename), read_checkpoint(filename))

    @property
    def task(self) -> Task:
        """What is trained."""
        return cast(Task, self.model)

    def _resume_checkpoint(self, path: Path, checkpoint: dict[str, Any]) -> None:
        difference = check_resumable(
            path, checkpoint, self.config_data, self.seed, bool(self.cfg.get('resume_elastic'))
        )
        iteration = checkpoint['meta']['iter']
        if iteration > self.max_iters:
            raise UserError(f'{path} is at iteration {iteration}, beyond max_iters={self.max_iters}; raise max_iters.')
        with user_errors(f'{path} cannot be resumed'):
            self._restore(checkpoint, str(path))
        self._has_loaded = True
        if difference:
            self.logger.warning(difference)
        self.logger.info(f'resumed {path} at iteration {iteration}')
        set_aside_later(Path(self.work_dir), iteration, self.logger)

    def _restore(self, checkpoint: dict[str, Any], source: str) -> None:
        """Load weights, the states of optimizers and schedulers, and what hooks keep."""
        self.call_hook('before_resume', checkpoint=checkpoint)
        load_weights(self.task, checkpoint['state_dict'], source)
        saved, own = sorted(checkpoint['optimizer']), sorted(self.optim_wrapper.keys())
        if saved != own:  # mmengine loads those that are there
            raise CheckpointError(
                f'{source} has the state of optimizers {saved}, this run has {own}; resume with the config of that run.'
            )
        for name, wrapper in self.optim_wrapper.items():
            resume_optimizer(wrapper, checkpoint['optimizer'][name], source)
        resume_schedulers(self.param_schedulers or {}, checkpoint['param_schedulers'], source)
        cast(TrainLoop, self.train_loop).iter = checkpoint['meta']['iter']
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)

    @master_only
    def save_checkpoint(self, out_dir: str, filename: str) -> None:
        """Write everything a resumed run needs, as plain values and tensors."""
        cast(TrainLoop, self.train_loop).check_finite()
        checkpoint = {
            'meta': {
                'iter': self.iter,
                'seed': self.seed,
                'world_size': self.world_size,
                'format_version': FORMAT_VERSION,
                'fvq_version': __version__,
                'torch_version': str(torch.__version__),
                'config': self.config_data,
            },
            'state_dict': {key: value.detach().cpu() for key, value in self.task.state_dict().items()},
            'optimizer': self.optim_wrapper.state_dict(),
            'param_schedulers': {
                name: [scheduler_state(scheduler) for scheduler in schedulers]
                for name, schedulers in (self.param_schedulers or {}).items()
            },
        }
        self.call_hook('before_save_checkpoint', checkpoint=checkpoint)
        write_checkpoint(checkpoint, Path(out_dir) / filename)

    @cached_property
    def config_data(self) -> dict[str, Any]:
        """The resolved config as data, which is what a run keeps of it."""
        return config_data(self.cfg.to_dict())

    def dump_config(self) -> None:
        """The resolved config: as data for other commands, and as `config.py` for people and `tools/train.py --resume`."""
        if self.rank == 0:
            work_dir, text = Path(self.work_dir), config_text(self.cfg.to_dict())
            write_json(work_dir / RESOLVED_CONFIG, self.config_data)
            write_atomically(work_dir / 'config.py', text.encode(), 'Nothing was trained yet.')
