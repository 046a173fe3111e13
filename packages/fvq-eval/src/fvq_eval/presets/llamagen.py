"""LlamaGen's evaluation of its tokenizers (Sun et al., 2024)."""

from __future__ import annotations

from ..metrics.conventions import PSNRConventions, SSIMConventions
from .adm import ADM_FEATURES
from .preset import Crop, Preset

LLAMAGEN = Preset(
    name='llamagen',
    source='FoundationVision/LlamaGen tokenizer/tokenizer_image/reconstruction_vq_ddp.py, then evaluations/c2i/evaluator.py',
    crop=Crop('ADMCenterCrop', upsample=True),
    rounding='half-up',
    reference_words='the same crops of the same images, 8 bits',
    features=ADM_FEATURES,
    psnr=(PSNRConventions(rounding='half-up'),),
    # scikit-image's defaults, but for a range of 2 on images in [0, 1].
    ssim=SSIMConventions('uniform', sample_covariance=True, data_range=2.0, rounding='half-up'),
)
