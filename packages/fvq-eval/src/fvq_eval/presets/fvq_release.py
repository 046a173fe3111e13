"""The evaluation that FVQ's authors released."""

from __future__ import annotations

from dataclasses import replace

from ..metrics.conventions import LPIPSConventions, PSNRConventions, SSIMConventions
from ..statistics.conventions import TORCH_FIDELITY
from .preset import Crop, Preset

FVQ_RELEASE = Preset(
    name='fvq-release',
    source='yfChang-cv/FVQ tokenizer/tokenizer_image/eval_fid_usage_lpips.py and crop_image.py',
    crop=Crop('CenterCrop'),
    rounding='round',
    codec='jpeg',  # files keep their names, which end in .JPEG; crops of the originals are saved alike
    reference_words='the same crops of the same images, saved as JPEG too',
    features=replace(TORCH_FIDELITY, metrics=('fid', 'inception_score'), is_shuffle_seed=0),  # the seed that it passes
    psnr=(PSNRConventions(color='luma', epsilon=1e-8),),  # pyiqa's
    ssim=SSIMConventions(data_range=2.0, downsample=True),  # piq's, "follow llamagen"
    lpips=(LPIPSConventions('alex'),),
)
