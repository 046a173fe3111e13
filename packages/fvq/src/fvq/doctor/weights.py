"""The published networks that losses and scores need: which are on this machine, and where the others belong."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from .finding import Finding


def published_weights() -> Iterator[tuple[str, str]]:
    """What each network is for, and the address of its file; one that is not here is fetched when first used, if it can be."""
    from fvq_core.losses.perceptual import convnext, dinov2
    from fvq_core.losses.perceptual.weights import BACKBONES, DOWNLOADS

    for net, file in BACKBONES.items():
        yield f'LPIPS, {net}', f'{DOWNLOADS}/{file}'
    yield 'ConvNeXtLoss (TiTok)', f'{DOWNLOADS}/{convnext.FILE}'
    yield 'DINODiscriminator (UniTok)', dinov2.URL
    if find_spec('fvq_eval'):
        from fvq_eval.features.inception_weights import URL

        yield 'FID and other scores', URL


def check_weights() -> Iterator[Finding]:
    """A line for each of them."""
    import torch

    folder = Path(torch.hub.get_dir(), 'checkpoints')
    for use, url in published_weights():
        file = folder / url.rpartition('/')[2]
        if file.is_file():
            yield Finding('weights', use, str(file))
        else:
            yield Finding('weights', use, f'no {file}', 'note', f'fetch {url}')
