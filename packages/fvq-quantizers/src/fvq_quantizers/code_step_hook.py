"""How far a step of training moves the mapped codes, measured, and made equal to another run's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.registry import HOOKS
from fvq_core.training.hooks.history import HISTORY_NAME, History

from .vector_quantizer import VectorQuantizer

SPLIT = 'codes'  # of the rows in the history
TRIES, TOLERANCE = 8, 1e-3  # of the scale that makes a step as long as another


@HOOKS.register_module()
class CodeStepHook(Hook):
    """Writes a row of split `codes` for each iteration: `code_step`, the root mean square over codes of the distance that an
    iteration moves a mapped code, in the units of the latent.

    With `match` the change of the quantizer's parameters is scaled after each step, by one factor, so that the mapped codes
    move as far as those of another run did in the same iteration; `code_step_own` is what they would have moved. The
    optimizer's state, encoder and decoder stay as they are. This asks whether a projector helps by how far it moves codes or by
    where it moves them. The hook holds no state, so a resumed run goes on exactly.

    Args:
        match: The `history.jsonl` of a run with this hook and at least as many iterations; None only measures. `{work_dir}`
            and `{seed}` in it are those of this run, so that each seed can follow its own.

    Raises:
        UserError: A quantizer without a codebook of its own, codes that an update overwrites, or a file that does not fit.
    """

    priority = 'VERY_HIGH'  # before averages, folding, logs and evaluations of its iteration

    def __init__(self, match: str | None = None) -> None:
        self.match = match
        self.targets: dict[int, float] = {}
        self.before: list[Tensor] = []

    def before_run(self, runner: Any) -> None:
        quantizer = runner.task.tokenizer.require_quantizer('CodeStepHook')
        if not isinstance(quantizer, VectorQuantizer):
            raise UserError(f'CodeStepHook: needs a VectorQuantizer, got {type(quantizer).__name__}; drop the hook.')
        self.history = History(Path(runner.work_dir) / HISTORY_NAME)
        if self.match is None:
            return
        if quantizer.update.overwrites:
            name = type(quantizer.update).__name__
            raise UserError(
                f'CodeStepHook: {name} moves codes without the optimizer; match only what the optimizer moves.'
            )
        match = self.match.replace('{work_dir}', str(runner.work_dir)).replace('{seed}', str(runner.seed))
        rows = History(Path(match)).rows()
        self.targets = {row['iter']: row['code_step'] for row in rows if row.get('split') == SPLIT}
        missing = [number for number in range(1, runner.max_iters + 1) if number not in self.targets]
        if missing:
            raise UserError(
                f'CodeStepHook: {match} has no code_step of iteration {missing[0]} of {runner.max_iters}; train a row '
                'with this hook and as many iterations first, and name its history.jsonl.'
            )

    @torch.no_grad()
    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        quantizer = runner.task.tokenizer.quantizer
        self.mapped_KD = quantizer.map(quantizer.embedding).clone()
        if self.match is not None:
            self.before = [parameter.clone() for parameter in quantizer.parameters()]

    @torch.no_grad()
    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        quantizer, number = runner.task.tokenizer.quantizer, runner.iter + 1
        row = {'iter': number, 'split': SPLIT, 'code_step': code_step(quantizer, self.mapped_KD)}
        if self.match is not None:
            row['code_step_own'] = row['code_step']
            row['code_step'] = scale_step(quantizer, self.before, self.mapped_KD, self.targets[number])
        if is_main_process():
            self.history.append(row)


@torch.no_grad()
def code_step(quantizer: VectorQuantizer, mapped_KD: Tensor) -> float:
    """Root mean square over codes of their distance from where they were."""
    moved_KD = quantizer.map(quantizer.embedding) - mapped_KD
    return float(moved_KD.square().sum(1).mean().sqrt())


@torch.no_grad()
def scale_step(quantizer: VectorQuantizer, before: list[Tensor], mapped_KD: Tensor, target: float) -> float:
    """Scale the change of the parameters until mapped codes move by `target`; returns how far they move then.

    A step that does not move them at all is left as it is.
    """
    after = [parameter.clone() for parameter in quantizer.parameters()]
    scale, moved = 1.0, code_step(quantizer, mapped_KD)
    for _ in range(TRIES):
        if not moved or abs(moved - target) <= TOLERANCE * target:
            break
        scale *= target / moved
        for parameter, old, new in zip(quantizer.parameters(), before, after, strict=True):
            parameter.copy_(old + scale * (new - old))
        moved = code_step(quantizer, mapped_KD)
    return moved
