"""Memory of a training step on a GPU: no matrix of all latents and all codes, and nothing left behind."""

from __future__ import annotations

import pytest
import torch

from fvq_core.training.optim_wrapper import build_optim_wrappers

from ..quantizers.matrix import AXES, VECTOR, build
from .peak_memory import extra_mib
from .tasks import small_task

pytestmark = pytest.mark.gpu
DEVICE = torch.device('cuda')


@pytest.mark.parametrize('name', ['plain', 'ema', 'simvq', 'llamagen'])
def test_forward_and_backward_keep_no_scores(name: str) -> None:
    K, N = 2**16, 2**13
    quantizer = build(dict(VECTOR, codebook_size=K, **AXES.get(name, {})), train=True).to(DEVICE)
    z = torch.randn(8, VECTOR['code_dim'], 32, 32, device=DEVICE, requires_grad=True)
    assert N == 8 * 32 * 32
    assert N * K * 4 == 2**31, 'bytes of all scores'

    def step() -> None:
        output = quantizer(z)
        (sum(output.losses.values()) + output.z_q_BDHW.square().mean()).backward()

    assert extra_mib(step, step) < 512 + 64  # a chunk of scores, codebooks and gradients of 2 MiB


def test_steps_leave_nothing_behind() -> None:
    task = small_task(DEVICE)
    optimizer = dict(type='ClippedOptimWrapper', optimizer=dict(type='Adam', lr=1e-3), max_norm=1.0)
    wrappers = build_optim_wrappers(optimizer, task.parts())
    images = torch.randint(0, 256, (8, 3, 64, 64), dtype=torch.uint8)

    def allocated_after(steps: int) -> int:
        for _ in range(steps):
            task.train_step([{'images': images}], wrappers, 0)
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated()

    before = allocated_after(3)
    assert allocated_after(10) - before < images.numel()  # one input of one step kept would be more: it is float there
