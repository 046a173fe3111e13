"""RQ-VAE's evaluation (Lee et al., 2022): only rFID."""

from __future__ import annotations

from dataclasses import replace

from ..statistics.conventions import TORCH_FIDELITY
from .preset import Crop, Preset

RQVAE = Preset(
    name='rqvae',
    source='kakaobrain/rq-vae-transformer compute_rfid.py, rqvae/metrics/fid.py and rqvae/img_datasets/transforms.py',
    crop=Crop('BilinearCenterCrop'),
    rounding='float',
    preprocessing='half-pixel',
    reference_words='the same crops of the same images, not rounded either',
    features=replace(TORCH_FIDELITY, metrics=('fid',)),
)
