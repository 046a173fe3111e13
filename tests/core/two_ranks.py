"""The same training steps by one process with the whole batch, or by two with half of it each."""

from __future__ import annotations

import logging
import warnings
from typing import Any, cast

import torch
from torch import Tensor

from fvq_core.data.loader import Loader
from fvq_core.errors import UserError
from fvq_core.losses.perceptual.vit_features import SMALL
from fvq_core.ops.collectives import CountCollectives
from fvq_core.ops.data_parallel import data_parallel
from fvq_core.registry import METRICS, MODELS
from fvq_core.training.evaluation_loop import evaluate as evaluate_task
from fvq_core.training.optim_wrapper import build_optim_wrappers
from tests.tiny import FVQ, kl_config, tokenizer_config

from .autoencoder_matrix import tokenizers

ADVERSARIAL = dict(type='AdversarialLoss', weight=0.5, start=0)
VQ = dict(type='VectorQuantizer', codebook_size=16, code_dim=8, init=dict(type='NormalInit', std=0.3))
QUANTIZERS = {
    'bridge': FVQ,
    'ema': dict(VQ, update=dict(type='EMAUpdate'), loss=dict(type='VQLoss', codebook_weight=0.0)),
    'entropy': dict(VQ, regularizer=dict(type='EntropyRegularizer', weight=0.1, temperature=1.0)),
    'residual': dict(type='ResidualQuantizer', depth=2, quantizer=VQ),
    'lfq': dict(type='LFQ', codebook_size=16, code_dim=8, temperature=1.0),
    'multi_scale': dict(type='MultiScaleQuantizer', quantizer=VQ, scales=(1, 2, 4), num_phi=1),
}
# What a case changes of the task.
CASES: dict[str, dict[str, Any]] = {
    name: dict(tokenizer=tokenizer_config(quantizer)) for name, quantizer in QUANTIZERS.items()
}
CASES['checkpointing'] = dict(tokenizer=tokenizer_config(FVQ, checkpointing=True))
CASES['late discriminator'] = dict(
    tokenizer=tokenizer_config(FVQ),
    adversarial=dict(ADVERSARIAL, start=1, discriminator=dict(type='PatchGAN', ch=8, layers=1, norm='none')),
)
CASES['gan'] = dict(
    tokenizer=tokenizer_config(FVQ),
    adversarial=dict(
        ADVERSARIAL, adaptive=True, lecam=0.05, r1=1.0, discriminator=dict(type='PatchGAN', ch=8, layers=1, norm='none')
    ),
)
CASES['stylegan'] = dict(
    tokenizer=tokenizer_config(FVQ),
    adversarial=dict(ADVERSARIAL, discriminator=dict(type='StyleGANDiscriminator', image_size=16, base_channels=8)),
)
CASES['batch_norm'] = dict(
    tokenizer=tokenizer_config(FVQ), adversarial=dict(ADVERSARIAL, discriminator=dict(type='PatchGAN', ch=8, layers=2))
)
# Its draws are those of each rank; this log variance leaves 3e-7 of them.
CASES['kl'] = dict(tokenizer=kl_config(kl_weight=0.1, log_variance=-30.0), nll=dict(type='NLLLoss', log_variance=0.5))
CASES['alignment'] = dict(
    tokenizer=tokenizer_config(VQ),
    alignment=dict(type='FeatureAlignment', options=SMALL, width=8, hidden=8, random=True),
)
CASES['frozen codes'] = dict(CASES['gan'], freeze=['encoder', 'quantizer'])
CASES['frozen decoder'] = dict(CASES['gan'], freeze=['quantizer', 'decoder'])
CASES |= {f'network of {name}': dict(tokenizer=config) for name, config in tokenizers(16, 16).items()}
STEPS, BATCH, MICRO = 2, 8, 2


def train(case: dict[str, Any], rank: int, ranks: int, ddp: dict[str, Any] | None = None) -> dict[str, Any]:
    """Two steps of two micro-batches; what this rank ends with, and the collectives of each step."""
    torch.manual_seed(0)
    model = dict(
        type='TokenizerTask',
        reconstruction_loss=dict(type='L2Loss'),
        **case,
    )
    task = MODELS.build(model).place(torch.device('cpu'), ddp).train()
    cfg = dict(type='ClippedOptimWrapper', optimizer=dict(type='SGD', lr=0.05), max_norm=1.0)
    optimizers = build_optim_wrappers(cfg, task.parts())
    images = torch.randint(0, 256, (STEPS, MICRO, BATCH, 3, 16, 16), dtype=torch.uint8)
    losses, collectives = [], []
    for step in range(STEPS):
        mine = [{'images': images[step, micro, rank::ranks]} for micro in range(MICRO)]
        with CountCollectives() as counted:
            losses.append(task.train_step(mine, optimizers, step)['losses'])
        collectives.append(counted.calls)
    norms = {name: wrapper.grad_norm for name, wrapper in optimizers.items()}
    parameters = sum(p.numel() for p in task.tokenizer.parameters() if p.requires_grad)
    done = {'losses': losses, 'norms': norms, 'state': task.state_dict()}
    return {**done, 'collectives': collectives, 'parameters': parameters}


def evaluate(rank: int, case: str) -> str:
    """The result or the error of the evaluation loop for a few images, of which this rank may be unable to read any."""
    images = [
        {'images': torch.full((1, 3, 16, 16), number, dtype=torch.uint8), 'unreadable': [], 'error': None}
        for number in range(4)
    ]
    broken: dict[str, Any] = {'images': None, 'unreadable': ['broken.png'], 'reasons': ['cut off'], 'error': None}
    mine: dict[str, list[dict[str, Any]]] = {
        'one image': images[:1] if rank == 0 else [],
        'one rank reads nothing': images if rank == 0 else [broken],
        'too many together': [images[0], {**broken, 'unreadable': [f'{rank}.png']}],
        'no image': [],
        'an error of one rank': images if rank == 0 else [{**broken, 'error': 'images differ in size'}],
    }
    task = MODELS.build(
        dict(type='TokenizerTask', tokenizer=tokenizer_config(VQ), reconstruction_loss=dict(type='L2Loss'))
    )
    metrics = [METRICS.build(dict(type=name)) for name in ('CodebookUsage', 'CodeBits')]
    try:
        results = evaluate_task(task, cast(Loader, SizedBatches(mine[case])), metrics, logging.getLogger('fvq.test'))
        samples = {value.samples for value in results.values()}
        return f'{samples.pop()} images' if len(samples) == 1 else f'{samples} differ'
    except UserError as error:
        return str(error)


class SizedBatches(list):
    """Batches of a data set of eight images, a fifth of which may be unreadable."""

    dataset, max_unreadable = range(8), 0.2


EVALUATIONS = ('one image', 'one rank reads nothing', 'too many together', 'no image', 'an error of one rank')


def train_on_rank(rank: int, name: str, ddp: dict[str, Any] | None = None) -> dict[str, Any]:
    """One of two processes, with half of each batch."""
    return train(CASES[name], rank, 2, ddp)


def evaluate_on_rank(rank: int) -> dict[str, str]:
    """What one of two processes finds, by case."""
    return {case: evaluate(rank, case) for case in EVALUATIONS}


class OtherStrides(torch.autograd.Function):
    """The identity, whose gradient comes with the strides of a contiguous tensor, as some convolutions give theirs."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyrefly: ignore[bad-override]
        return grad.as_strided(grad.shape, (grad.shape[1], 1, 1, 1))


class PointConvolution(torch.nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.conv2d(x, OtherStrides.apply(self.weight), self.bias)


def warnings_of_ddp(rank: int) -> list[str]:
    """What a step of a 1x1 convolution in channels-last order warns of."""
    model = torch.nn.Sequential(PointConvolution(4, 8, 1)).to(memory_format=torch.channels_last)
    assert model[0].weight.stride() == (4, 1, 4, 4)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter('always')
        ddp = data_parallel(model)
        ddp(torch.randn(2, 4, 3, 3)).sum().backward()
    return [str(warning.message) for warning in found]
