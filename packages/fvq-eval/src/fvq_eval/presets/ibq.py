"""IBQ's and Open-MAGVIT2's evaluation (SEED-Voken)."""

from __future__ import annotations

from dataclasses import replace

from ..metrics.conventions import LPIPSConventions, PSNRConventions, SSIMConventions
from ..statistics.conventions import TORCH_FIDELITY
from .preset import Crop, Preset

IBQ = Preset(
    name='ibq',
    source='TencentARC/SEED-Voken evaluation_image.py and src/IBQ/data/base.py, at 256 pixels',
    crop=Crop('OpenCVCenterCrop'),
    rounding='float',
    preprocessing='half-pixel',
    reference_words='the same crops of the same images, not rounded either',
    features=replace(TORCH_FIDELITY, metrics=('fid',)),
    psnr=(PSNRConventions(rounding='truncate'),),
    ssim=SSIMConventions('uniform', sample_covariance=True, rounding='truncate'),  # scikit-image's defaults
    lpips=(LPIPSConventions('alex', rounding='float'), LPIPSConventions('vgg', rounding='float')),
)
