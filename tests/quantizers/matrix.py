"""A tiny config for every registered quantizer, projector and other part, and the helpers that tests of quantizers share.

Registered something new? If it needs no arguments (of a quantizer or projector: none but `codebook_size` and `code_dim`) it
is here already; else add its tiny config to `TINY_QUANTIZERS`, `TINY_PROJECTORS` or `AXES` below.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from fvq_core.projector import find_projectors
from fvq_core.quantizer import Quantizer
from fvq_core.registry import (
    CODEBOOK_UPDATES,
    DISTANCES,
    ESTIMATORS,
    NORMALIZATIONS,
    PROJECTORS,
    QUANTIZER_LOSSES,
    QUANTIZERS,
    REGULARIZERS,
    Registry,
    constructor_arguments,
)
from fvq_quantizers.distances import OptimalTransport
from fvq_quantizers.updates import GradientUpdate

K, D = 16, 8

VECTOR = dict(type='VectorQuantizer', codebook_size=K, code_dim=D)
GROUP = dict(VECTOR, code_dim=D // 4)
PYRAMID: dict[str, Any] = dict(scales=(1, (2, 3), (3, 4), (4, 6)), num_phi=2)
TINY_QUANTIZERS: dict[str, dict[str, Any]] = {
    'VectorQuantizer': VECTOR,
    'ResidualQuantizer': dict(type='ResidualQuantizer', quantizer=VECTOR, depth=3),
    'MultiScaleQuantizer': dict(type='MultiScaleQuantizer', quantizer=VECTOR, **PYRAMID),
    'ProductQuantizer': dict(type='ProductQuantizer', quantizer=GROUP, groups=4),
    'LFQ': dict(type='LFQ', codebook_size=K, code_dim=D),
    'FSQ': dict(type='FSQ', levels=(4, 3, 3), code_dim=D),
    'FSP': dict(type='FSP', levels=(4, 3, 3), code_dim=D, quantize_rate=1.0),
    'LGQ': dict(type='LGQ', codebook_size=K, code_dim=D, from_latents=False, temperature_steps=3),
    'GumbelQuantizer': dict(type='GumbelQuantizer', codebook_size=K, code_dim=D),
}
TINY_PROJECTORS: dict[str, dict[str, Any]] = {
    'IdentityProjector': {},
    'LinearProjector': {},
    'MLPProjector': dict(depth=2),
    'AffineProjector': dict(lr=10.0, num_groups=2),
    'VQBridge': dict(patch_size=4, output_scale=1.0),
    'DiTBridge': dict(patch_size=4, output_scale=1.0),
}
AXES: dict[str, dict[str, Any]] = {
    'llamagen': dict(normalize=dict(type='L2Normalize')),
    'vit-vqgan': dict(normalize=dict(type='L2Normalize', straight_to_latent=True)),
    'cosine': dict(normalize=dict(type='CosineSearch'), regularizer=dict(type='EntropyRegularizer', weight=0.1)),
    'ibq': dict(
        distance=dict(type='DotProduct'), estimator=dict(type='IndexBackpropagation'), loss=dict(type='IBQLoss')
    ),
    'ema': dict(update=dict(type='EMAUpdate', restart=True), loss=dict(type='VQLoss', codebook_weight=0.0)),
    'simvq': dict(projector=dict(type='LinearProjector', source_dim=5), update=dict(type='Frozen')),
    'tuned vqgan-lc': dict(projector=dict(type='MLPProjector', depth=2, source_dim=5, hidden_dim=12)),
    'affine of running statistics': dict(projector=dict(type='AffineProjector', use_running_statistics=True)),
    'ibq by cosine': dict(
        normalize=dict(type='CosineSearch'), estimator=dict(type='IndexBackpropagation'), loss=dict(type='IBQLoss')
    ),
    'rotation trick': dict(estimator=dict(type='RotationTrick')),
    'diveq': dict(estimator=dict(type='DiVeQ', noise_std=0.0)),
    'synchronized': dict(estimator=dict(type='SynchronizedStraightThrough', nu=0.3)),
    'bridge with positions and registers': dict(
        projector=dict(type='VQBridge', patch_size=1, output_scale=1.0, positions='learned', registers=2)
    ),
    'cvq': dict(
        normalize=dict(type='CosineSearch'),
        distance=dict(type='DotProduct'),
        update=dict(type='CVQUpdate'),
        regularizer=dict(type='ContrastiveRegularizer'),
    ),
    'cvq, drawn anchors': dict(update=dict(type='CVQUpdate', anchor='probrandom')),
    'cvq, pooled anchors': dict(update=dict(type='CVQUpdate', anchor='random', first_batch=True)),
    'titok': dict(normalize=dict(type='L2Normalize'), update=dict(type='CVQUpdate', raw_anchors=True)),
    'dead codes': dict(update=dict(type='ReplaceDeadCodes', patience=1, noise=0.01)),
    'dead codes by usage': dict(
        update=dict(type='ReplaceDeadCodes', threshold=1.0, decay=0.4),
        regularizer=dict(type='OrthogonalRegularizer', weight=1.0),
    ),
    'split codes': dict(update=dict(type='SplitUsedCodes', interval=2, share=0.5)),
    'alternating': dict(update=dict(type='AlternatingUpdate', lr=10.0), loss=dict(type='VQLoss', codebook_weight=0.0)),
    'alternating bridge': dict(
        projector=dict(type='VQBridge', patch_size=4, output_scale=1.0),
        update=dict(type='AlternatingUpdate', steps=2, optimizer='adam', lr=0.01, search_again=False),
    ),
    'reg-vq': dict(estimator=dict(type='StochasticMask'), regularizer=dict(type='PriorRegularizer', posterior='hard')),
    'ns-vq': dict(loss=dict(type='NonStationaryLoss', strength=0.1, decay_steps=1)),
    'transvq': dict(projector=dict(type='CodebookTransformer', hidden_dim=16), update=dict(type='Frozen')),
    'grid bridge': dict(projector=dict(type='VQBridge', patch_size=4, patching='grid', compression_norm=True)),
    'sequence DiT bridge': dict(
        projector=dict(type='DiTBridge', patch_size=2, patching='sequence', output_scale=1.0, hidden_dim=12, depth=1)
    ),
}
REGISTRIES = dict(
    normalize=NORMALIZATIONS,
    distance=DISTANCES,
    estimator=ESTIMATORS,
    loss=QUANTIZER_LOSSES,
    update=CODEBOOK_UPDATES,
    regularizer=REGULARIZERS,
)
PHIS: dict[str, dict[str, Any]] = {
    'one phi': dict(num_phi=1),
    'a phi for each scale': dict(num_phi=None),
    'more phis than scales': dict(num_phi=5),
    'identity phi': dict(phi_ratio=0.0),
}
# More configs, besides the tiny one, of quantizers that are not a composition of parts.
VARIANTS: dict[str, dict[str, Any]] = {
    'LFQ, plain': dict(type='LFQ', codebook_size=2**D),
    'LFQ, factorized': dict(type='LFQ', codebook_size=2**D, factorized_bits=(3, 5), order='big'),
    'LFQ, spherical': dict(type='LFQ', codebook_size=2**D, spherical=True, codebook_scale=2.0),
    'LFQ, two codes': dict(type='LFQ', codebook_size=2 ** (D // 2), groups=2, clamp_probabilities=True),
    'LFQ, two projected codes': dict(type='LFQ', codebook_size=K, groups=2, code_dim=D, project=True),
    'FSQ, plain': dict(type='FSQ', levels=(4, 3, 5, 4, 3, 3, 3, 3)),
    'FSQ, symmetric': dict(type='FSQ', levels=(4, 2, 5, 4, 3, 3, 3, 3), symmetric=True),
    'FSQ, ifsq': dict(type='FSQ', levels=(5, 3, 5, 3, 3, 3, 3, 3), symmetric=True, slope=0.8, token_channels=(4, 4)),
    'FSQ, two projected codes': dict(type='FSQ', levels=(5, 4), groups=2, code_dim=D),
    'BSQ, bit labels': dict(type='BSQ', codebook_size=2**D, bit_labels=True),
    'ResidualQuantizer of LFQ': dict(
        type='ResidualQuantizer',
        quantizer=dict(type='LFQ', codebook_size=2**D, factorized_bits=(3, 5)),
        depth=3,
        code_scales=(1.0, 0.5, 0.25),
    ),
    'ResidualQuantizer of BSQ': dict(
        type='ResidualQuantizer', quantizer=dict(type='BSQ', codebook_size=2**D, bit_labels=True), depth=2
    ),
    'ResidualQuantizer of FSQ': dict(
        type='ResidualQuantizer',
        quantizer=dict(type='FSQ', levels=(5,) * (D // 2), groups=2, symmetric=True, hard_clamp=True),
        depth=2,
        code_scales=(1.0, 0.25),
    ),
    'MultiScaleQuantizer of BSQ': dict(
        type='MultiScaleQuantizer',
        quantizer=dict(type='BSQ', codebook_size=2**D, bit_labels=True),
        scales=PYRAMID['scales'],
        phi_ratio=0.0,
        interpolation='bilinear',
    ),
    'MultiScaleQuantizer of LFQ': dict(
        type='MultiScaleQuantizer',
        quantizer=dict(type='LFQ', codebook_size=2**D),
        code_scales=(1, 0.9, 0.8, 0.7),
        **PYRAMID,
    ),
    'MultiScaleQuantizer of FSQ': dict(
        type='MultiScaleQuantizer', quantizer=dict(type='FSQ', levels=(5,) * D, slope=0.8, symmetric=True), **PYRAMID
    ),
    'FSP, two codes': dict(type='FSP', levels=(4, 3, 5, 4), groups=2, quantize_rate=1.0, activation='normal'),
    'ResidualQuantizer of FSP': dict(
        type='ResidualQuantizer',
        quantizer=dict(type='FSP', levels=(3,) * D, quantize_rate=1.0),
        depth=2,
        code_scales=(1.0, 0.3),
    ),
    'GumbelQuantizer, soft': dict(
        type='GumbelQuantizer',
        codebook_size=K,
        code_dim=D,
        straight_through=False,
        final_temperature=0.1,
        temperature_steps=5,
    ),
    'ProductQuantizer, shared': dict(type='ProductQuantizer', quantizer=GROUP, groups=4, shared=True),
    'ProductQuantizer, unitok': dict(
        type='ProductQuantizer', quantizer=dict(GROUP, normalize=dict(type='L2Normalize')), groups=4
    ),
    'ProductQuantizer, shared VQBridge': dict(
        type='ProductQuantizer',
        quantizer=dict(GROUP, projector=dict(type='VQBridge', patch_size=4, hidden_dim=8, output_scale=1.0)),
        groups=4,
        shared=True,
    ),
    'ProductQuantizer, ema': dict(
        type='ProductQuantizer',
        quantizer=dict(GROUP, update=dict(type='EMAUpdate'), loss=dict(type='VQLoss', codebook_weight=0.0)),
        groups=4,
    ),
    'ProductQuantizer of Gumbel': dict(
        type='ProductQuantizer', quantizer=dict(type='GumbelQuantizer', codebook_size=K, code_dim=D // 4), groups=4
    ),
    'ProductQuantizer of scales': dict(
        type='ProductQuantizer', quantizer=dict(type='MultiScaleQuantizer', quantizer=GROUP, **PYRAMID), groups=4
    ),
    'ProductQuantizer of LFQ': dict(type='ProductQuantizer', quantizer=dict(type='LFQ', codebook_size=4), groups=4),
}
SEPARATE: dict[str, Any] = dict(type='ResidualQuantizer', quantizer=VECTOR, depth=2, shared=False)
UPDATES = [dict(type='EMAUpdate', decay=0.9), dict(type='EMAUpdate', decay=0.99)]


def others(registry: Registry, known: set[Any], *given: str) -> list[str]:
    """Names of what is registered, not known, and can be built from only the given arguments."""
    found = {}
    for name in registry.names():
        component = registry.get(name)
        accepted = constructor_arguments(component) or {}
        required = {key for key, argument in accepted.items() if argument.default is argument.empty}
        if component not in known and required <= set(given):
            found.setdefault(component, name)  # aliases of one class count as one
    return list(found.values())


def listed(registry: Registry, names: Iterable[str]) -> set[Any]:
    return {registry.get(name) for name in names}


for name in others(PROJECTORS, listed(PROJECTORS, TINY_PROJECTORS), 'codebook_size', 'code_dim'):
    TINY_PROJECTORS[name] = {}
for name in others(QUANTIZERS, listed(QUANTIZERS, TINY_QUANTIZERS), 'codebook_size', 'code_dim'):
    TINY_QUANTIZERS[name] = dict(codebook_size=K, code_dim=D)
for axis, registry in REGISTRIES.items():
    default = type(getattr(QUANTIZERS.build(VECTOR), axis))
    named = listed(registry, [axes[axis]['type'] for axes in AXES.values() if axis in axes])
    AXES.update({name: {axis: dict(type=name)} for name in others(registry, {*named, default})})


def cases() -> dict[str, dict[str, Any]]:
    """Configs by name: every quantizer by itself, every quantizer around every projector, and the other axes."""
    found = {name: {'type': name, **options} for name, options in TINY_QUANTIZERS.items()}
    for name, options in TINY_PROJECTORS.items():
        projector = dict(type=name, **options)
        found[f'VectorQuantizer, {name}'] = dict(VECTOR, projector=projector)
        found[f'ResidualQuantizer, {name}'] = dict(
            type='ResidualQuantizer', depth=3, quantizer=dict(VECTOR, projector=projector)
        )
        found[f'MultiScaleQuantizer, {name}'] = dict(
            type='MultiScaleQuantizer', quantizer=dict(VECTOR, projector=projector), **PYRAMID
        )
    found |= {f'VectorQuantizer, {name}': dict(VECTOR, **axes) for name, axes in AXES.items()}
    found |= VARIANTS
    found['ResidualQuantizer, separate codebooks'] = SEPARATE
    found['ResidualQuantizer, an ema for each depth'] = dict(
        SEPARATE, quantizer=dict(VECTOR, loss=dict(type='VQLoss', codebook_weight=0.0)), updates=UPDATES
    )
    found['ResidualQuantizer, vit-vqgan'] = dict(
        SEPARATE, quantizer=dict(VECTOR, **AXES['llamagen']), shared=True, residual_losses=True
    )
    found['ResidualQuantizer, codebooks of several sizes'] = dict(SEPARATE, codebook_sizes=[K, K // 2])
    found |= {
        f'MultiScaleQuantizer, {name}': dict(TINY_QUANTIZERS['MultiScaleQuantizer'], **options)
        for name, options in PHIS.items()
    }
    for name in ('cosine', 'ema', 'simvq'):  # the codebook term trains the phis, even if EMA writes the codes
        found[f'MultiScaleQuantizer, {name}'] = dict(
            TINY_QUANTIZERS['MultiScaleQuantizer'], quantizer={**VECTOR, **AXES[name], 'loss': dict(type='VQLoss')}
        )
    return found


def without_config(kind: str) -> set[str]:
    """Registered names of a kind that no tiny config builds; aliases of one class count as one."""
    registry, tiny = {'quantizer': (QUANTIZERS, TINY_QUANTIZERS), 'projector': (PROJECTORS, TINY_PROJECTORS)}[kind]
    covered = listed(registry, tiny)
    return {name for name in registry.names() if registry.get(name) not in covered}


def acts_first(quantizer: Quantizer) -> bool:
    """Whether a training step moves codes, or assigns them, before a search would choose them."""
    updates = [part for part in quantizer.modules() if isinstance(part, GradientUpdate)]
    return (
        any(update.acts_before_assignment for update in updates)
        or any(isinstance(part, OptimalTransport) for part in quantizer.modules())
        or any(projector.observes_latents for projector in find_projectors(quantizer))
    )


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
