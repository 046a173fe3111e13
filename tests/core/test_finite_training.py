"""A run whose numbers are no longer finite ends with the iteration, what broke, and the last good checkpoint."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.config import Config

from fvq_core.config.read import load_config
from fvq_core.errors import NonFiniteError, NonFiniteLossError
from fvq_core.registry import MODELS
from fvq_core.training.load_task import load_task
from fvq_core.training.runner import Runner
from fvq_core.training.tasks.tokenizer_task import TokenizerTask
from fvq_core.training.train_loop import TrainLoop

from ..tiny import tokenizer_config

ROW = str(Path(__file__).parents[2] / 'configs/mini/vq.py')
TINY = {
    'train_dataloader.batch_size': 2,
    'val_dataloader.dataset.crops': 2,
    'train_cfg.max_iters': 3,
    'default_hooks.report': None,
    'device': 'cpu',
}


def test_encoder_that_breaks_in_training_stops_the_run_at_that_iteration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = TokenizerTask.train_step

    def breaking(self: TokenizerTask, data: Any, optim_wrapper: Any, iteration: int) -> dict[str, Any]:
        if iteration == 1:
            with torch.no_grad():
                self.tokenizer.encoder.conv_in.bias.fill_(float('nan'))
        return step(self, data, optim_wrapper, iteration)

    monkeypatch.setattr(TokenizerTask, 'train_step', breaking)
    runner = Runner.from_cfg(load_config(ROW, TINY, work_dir=str(tmp_path)))
    with pytest.raises(
        NonFiniteLossError, match=r'iteration 2: .*latents of image 0 are not finite.*no checkpoint was'
    ):
        runner.train()
    assert not list(tmp_path.glob('*.pth'))


@pytest.mark.parametrize(
    ('terms', 'message'),
    [
        (dict(total=0.5, largest=float('inf')), r'iteration 8: the largest is not finite \(total 0.5, largest inf\)'),
        (dict(total=float('nan'), largest=3.0), r'iteration 8: the loss is not finite \(total nan, largest 3\)'),
    ],
)
def test_loop_names_the_first_iteration_and_what_is_not_finite(tmp_path: Path, terms: Any, message: str) -> None:
    loop = TrainLoop.__new__(TrainLoop)
    loop._runner = SimpleNamespace(work_dir=tmp_path)
    good = dict(total=torch.tensor(0.1), largest=torch.tensor(2.0))
    loop.unchecked = [(6, good)]
    loop.check_finite()
    assert loop.unchecked == []
    loop.unchecked = [(6, good), (7, {name: torch.tensor(value) for name, value in terms.items()}), (8, good)]
    with pytest.raises(NonFiniteLossError, match=message):
        loop.check_finite()


def task() -> TokenizerTask:
    return MODELS.build(
        dict(type='TokenizerTask', tokenizer=tokenizer_config(), reconstruction_loss=dict(type='L2Loss'))
    )


def test_step_hands_over_the_largest_latent_of_all_micro_batches() -> None:
    class Optimizer:
        def optim_context(self, module: Any) -> Any:
            return torch.enable_grad()

        def backward(self, loss: torch.Tensor) -> None: ...

        def step(self) -> None: ...

        def zero_grad(self) -> None: ...

    model = task().train()
    pixels = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    with torch.no_grad():
        expected = model.tokenizer.encode_latent(model.images({'images': pixels})).abs().max()
    found = model.train_step([{'images': part} for part in pixels.split(2)], {'tokenizer': Optimizer()}, 0)
    torch.testing.assert_close(found['watched'], {'largest latent': expected})


@torch.no_grad()
def test_reconstructions_that_are_not_finite_are_not_scored() -> None:
    model = task().eval()
    model.tokenizer.decoder.conv_out.bias.fill_(float('nan'))
    with pytest.raises(NonFiniteError, match=r'the pixels of image 0 are not finite .*no score is made of them'):
        model.val_step({'images': torch.zeros(2, 3, 8, 8, dtype=torch.uint8)})


def test_checkpoint_with_broken_weights_is_neither_evaluated_nor_exported() -> None:
    state = task().state_dict()
    state['tokenizer.encoder.conv_in.bias'][0] = float('inf')
    model = dict(type='TokenizerTask', tokenizer=tokenizer_config(), reconstruction_loss=dict(type='L2Loss'))
    with pytest.raises(
        NonFiniteError, match=r"iter_9\.pth: 'tokenizer.encoder.conv_in.bias' is not finite: 1 of its 8"
    ):
        load_task({'state_dict': state}, 'iter_9.pth', Config(dict(model=model)))
