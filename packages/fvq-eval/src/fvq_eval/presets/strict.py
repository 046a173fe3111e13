"""Ours: what we think should be reported, and every number that we can compute."""

from __future__ import annotations

from ..metrics.conventions import LPIPSConventions, PSNRConventions, SSIMConventions
from ..statistics.conventions import TORCH_FIDELITY
from .preset import Crop, Preset

STRICT = Preset(
    name='strict',
    source='FVQ docs/evaluation.md',
    crop=Crop('ADMCenterCrop', upsample=True),
    rounding='round',
    reference_words='the same crops of the same images, 8 bits',
    features=TORCH_FIDELITY,
    psnr=(PSNRConventions(), PSNRConventions(color='luma')),
    ssim=SSIMConventions(),
    ms_ssim=True,
    lpips=(LPIPSConventions('alex'), LPIPSConventions('vgg'), LPIPSConventions('squeeze')),
)
