"""`model.compile` by name: a backend, or the mode of torch.compile that records CUDA graphs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fvq_core.errors import UserError
from fvq_core.registry import MODELS
from fvq_core.training.tasks.tokenizer_task import TokenizerTask
from tests.tiny import tokenizer_config


def task(compile: bool | str) -> TokenizerTask:
    torch.manual_seed(0)
    reconstruction = dict(type='L2Loss')
    return MODELS.build(
        dict(type=TokenizerTask, tokenizer=tokenizer_config(), reconstruction_loss=reconstruction, compile=compile)
    )


@pytest.mark.parametrize(
    ('compile', 'expected'),
    [
        (True, dict(backend='inductor')),
        ('aot_eager', dict(backend='aot_eager')),
        ('reduce-overhead', dict(mode='reduce-overhead')),
    ],
)
def test_the_name_is_a_backend_or_the_mode(
    compile: bool | str, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(torch.nn.Module, 'compile', lambda module, **how: asked.append(how))
    task(compile).place(torch.device('cpu'))
    assert asked == [expected] * 2  # encoder and decoder


def test_graphs_take_one_micro_batch() -> None:
    with pytest.raises(UserError, match="'reduce-overhead' takes one micro-batch, got 2"):
        task('reduce-overhead').train_step([{}, {}], {'tokenizer': None}, 0)


@pytest.mark.gpu
def test_on_a_gpu_graphs_train_as_eager_steps_do() -> None:
    def losses(compile: bool | str) -> list[float]:
        trained = task(compile).place(torch.device('cuda')).train()
        optimizer = torch.optim.SGD(trained.parameters(), lr=0.01)
        images = torch.rand(8, 3, 16, 16, device='cuda', generator=torch.Generator('cuda').manual_seed(0)) * 2 - 1
        found = []
        for _ in range(6):
            if compile:
                torch.compiler.cudagraph_mark_step_begin()
            out = trained.tokenizer(images)
            loss = torch.stack(list(trained.losses(images, out).values())).sum()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            found.append(loss.item())
        return found

    torch.testing.assert_close(losses('reduce-overhead'), losses(False), rtol=1e-3, atol=1e-4)
