"""A tiny config for every registered quantizer and projector, and the helpers that tests of quantizers share.

Registered something new? Add its tiny config to `TINY_QUANTIZERS` or `TINY_PROJECTORS` below.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fvq_core.quantizer import Quantizer
from fvq_core.registry import PROJECTORS, QUANTIZERS

K, D = 16, 8

VECTOR = dict(type='VectorQuantizer', codebook_size=K, code_dim=D)
TINY_QUANTIZERS: dict[str, dict[str, Any]] = {
    'VectorQuantizer': VECTOR,
    'ResidualQuantizer': dict(type='ResidualQuantizer', quantizer=VECTOR, depth=3),
}
TINY_PROJECTORS: dict[str, dict[str, Any]] = {
    'IdentityProjector': {},
    'LinearProjector': {},
    'MLPProjector': dict(depth=2),
    'VQBridge': dict(patch_size=4, output_scale=1.0),
    'DiTBridge': dict(patch_size=4, output_scale=1.0),
}
AXES: dict[str, dict[str, Any]] = {
    'llamagen': dict(normalize=dict(type='L2Normalize')),
    'cosine': dict(normalize=dict(type='CosineSearch'), regularizer=dict(type='EntropyRegularizer', weight=0.1)),
    'ibq': dict(
        distance=dict(type='DotProduct'), estimator=dict(type='IndexBackpropagation'), loss=dict(type='IBQLoss')
    ),
    'ema': dict(update=dict(type='EMAUpdate', restart=True), loss=dict(type='VQLoss', codebook_weight=0.0)),
    'simvq': dict(projector=dict(type='LinearProjector', source_dim=5), update=dict(type='Frozen')),
    'grid bridge': dict(projector=dict(type='VQBridge', patch_size=4, patching='grid', compression_norm=True)),
    'sequence DiT bridge': dict(
        projector=dict(type='DiTBridge', patch_size=2, patching='sequence', output_scale=1.0, hidden_dim=12, depth=1)
    ),
}
SEPARATE = dict(type='ResidualQuantizer', quantizer=VECTOR, depth=2, shared=False)


def cases() -> dict[str, dict[str, Any]]:
    """Configs by name: every quantizer alone, every quantizer around every projector, and the other axes."""
    found = dict(TINY_QUANTIZERS)
    for name, options in TINY_PROJECTORS.items():
        projector = dict(type=name, **options)
        found[f'VectorQuantizer, {name}'] = dict(VECTOR, projector=projector)
        found[f'ResidualQuantizer, {name}'] = dict(
            type='ResidualQuantizer', depth=3, quantizer=dict(VECTOR, projector=projector)
        )
    found |= {f'VectorQuantizer, {name}': dict(VECTOR, **axes) for name, axes in AXES.items()}
    found['ResidualQuantizer, separate codebooks'] = SEPARATE
    return found


def without_config(kind: str) -> set[str]:
    """Registered names of a kind that no tiny config builds; aliases of one class count as one."""
    registry, tiny = {'quantizer': (QUANTIZERS, TINY_QUANTIZERS), 'projector': (PROJECTORS, TINY_PROJECTORS)}[kind]
    covered = {registry.get(name) for name in tiny}
    return {name for name in registry.names() if registry.get(name) not in covered}


def build(config: dict[str, Any], train: bool = False, **changes: Any) -> Quantizer:
    """A quantizer whose raw codes are N(0, 1), so that several are used, and whose blocks modulate from the start."""
    quantizer = QUANTIZERS.build({**config, **changes})
    for name, parameter in quantizer.named_parameters():
        if name.endswith('embedding') or 'modulation' in name:
            nn.init.normal_(parameter)
    return quantizer.train(train)


def latents(batch: int = 2, height: int = 4, width: int = 6, dim: int = D) -> Tensor:
    """N(0, 1), not square."""
    return torch.randn(batch, dim, height, width)


def vectors(z_BDHW: Tensor) -> Tensor:
    """(B, D, H, W) to (N, D) in reading order."""
    return z_BDHW.movedim(1, -1).reshape(-1, z_BDHW.shape[1])
