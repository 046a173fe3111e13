"""ADM's evaluator (Dhariwal & Nichol, 2021), which published FIDs of generators on ImageNet come from."""

from __future__ import annotations

from dataclasses import replace

from ..statistics.conventions import ADM as CONVENTIONS
from .preset import Crop, Preset

ADM_FEATURES = replace(CONVENTIONS, metrics=('fid', 'sfid', 'inception_score', 'precision_recall'))

ADM = Preset(
    name='adm',
    source='openai/guided-diffusion evaluations/evaluator.py, on npz files of 8-bit images',
    crop=Crop('ADMCenterCrop', upsample=True),
    rounding='round',  # the evaluator reads 8 bits; how images are rounded is up to the sampler
    reference='external',
    reference_words='VIRTUAL_imagenet256_labeled.npz, statistics of the training set',
    features=ADM_FEATURES,
)
