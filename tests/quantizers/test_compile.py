"""`torch.compile` changes no number of any quantizer's training step.

The backend is `eager`: Dynamo traces the Python code, splits it where it must and runs the graphs with the usual kernels, so
that results agree to rounding and no compiler for the CPU is needed. What an optimising backend makes of a correct graph
is not ours to test. Tracing takes seconds a quantizer, so axis values share a few vector quantizers here; what is registered
and stands in none of them gets one of its own.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fvq_core.registry import PROJECTORS, Registry

from .matrix import REGISTRIES, TINY_PROJECTORS, TINY_QUANTIZERS, VECTOR, build, latents, listed, others

pytestmark = [
    # Matrix products are switched to full float32 by global state, at which Dynamo breaks the graph, with a warning.
    pytest.mark.filterwarnings('ignore:Dynamo does not know how to trace:UserWarning'),
    # Where it goes on with a tensor in the middle of a graph, it looks at its gradient itself.
    pytest.mark.filterwarnings('ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning'),
]

PARTS: list[dict[str, Any]] = [
    dict(projector='LinearProjector', normalize='L2Normalize', estimator='RotationTrick', update='Frozen'),
    dict(
        projector='VQBridge',
        normalize='CosineSearch',
        distance='DotProduct',
        estimator='IndexBackpropagation',
        loss='IBQLoss',
        regularizer='EntropyRegularizer',
    ),
    dict(projector='DiTBridge', estimator='DiVeQ', update='AlternatingUpdate', regularizer='OrthogonalRegularizer'),
    dict(projector='IdentityProjector', estimator='StochasticMask', update='CVQUpdate', regularizer='PriorRegularizer'),
    dict(
        projector='MLPProjector',
        normalize='NoNormalization',
        distance='SquaredL2',
        estimator='StraightThrough',
        loss='VQLoss',
        update='GradientUpdate',
    ),
    dict(projector='AffineProjector', estimator='SynchronizedStraightThrough', regularizer='ContrastiveRegularizer'),
    dict(update='EMAUpdate'),
    dict(update='ReplaceDeadCodes'),
    dict(update='SplitUsedCodes'),
]
AXES = dict(REGISTRIES, projector=PROJECTORS)
for axis, registry in AXES.items():
    named = listed(registry, [parts[axis] for parts in PARTS if axis in parts])
    PARTS += [{axis: name} for name in others(registry, named, 'codebook_size', 'code_dim')]
OPTIONS: dict[str, dict[str, Any]] = {
    **TINY_PROJECTORS,
    'EntropyRegularizer': dict(weight=0.1, temperature=1.0),
    'OrthogonalRegularizer': dict(weight=0.1),
    'EMAUpdate': dict(restart=True),
    'ReplaceDeadCodes': dict(patience=1),
    'SplitUsedCodes': dict(interval=1),
    'DiVeQ': dict(noise_std=0.0),
}
COMPOSED = [
    dict(VECTOR, **{axis: dict(type=name, **OPTIONS.get(name, {})) for axis, name in parts.items()}) for parts in PARTS
]
TRACED = {name: {'type': name, **options} for name, options in TINY_QUANTIZERS.items()}
TRACED |= {', '.join(parts.values()): config for parts, config in zip(PARTS, COMPOSED, strict=True)}


def step(quantizer: nn.Module, module: nn.Module, z: Tensor) -> dict[str, Tensor]:
    """Everything that a training step leaves: codes, value, losses, gradients, state."""
    z = z.clone().requires_grad_()
    torch.manual_seed(5)
    output = module(z)
    (sum(output.losses.values()) + output.z_q_BDHW.square().mean()).backward()
    grads = {f'gradient of {name}': p.grad for name, p in quantizer.named_parameters() if p.grad is not None}
    results = {'codes': output.codes.indices_BL, 'z_q': output.z_q_BDHW, 'gradient of z': z.grad}
    return {**results, **output.losses, **grads, **quantizer.state_dict()}


@pytest.mark.parametrize('name', TRACED)
def test_compiled_quantizer_gives_the_same_numbers(name: str):
    torch._dynamo.reset()
    quantizer, z = build(TRACED[name], train=True), latents()
    twin = copy.deepcopy(quantizer)
    compiled = torch.compile(twin, backend='eager')
    torch.testing.assert_close(step(twin, compiled, z), step(quantizer, quantizer, z))


@pytest.mark.parametrize(('axis', 'registry'), AXES.items(), ids=AXES)
def test_every_value_of_an_axis_is_compiled(axis: str, registry: Registry):
    compiled = {registry.get(parts[axis]) for parts in PARTS if axis in parts}
    assert {name for name in registry.names() if registry.get(name) not in compiled} == set(), 'add it to PARTS'
