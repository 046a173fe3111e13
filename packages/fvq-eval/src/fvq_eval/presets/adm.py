"""ADM's evaluator (Dhariwal & Nichol, 2021): what FIDs of generators on ImageNet are taken with."""

from __future__ import annotations

from dataclasses import replace

from ..statistics.conventions import ADM as CONVENTIONS
from .preset import Crop, Preset

ADM_FEATURES = replace(CONVENTIONS, metrics=('fid', 'sfid', 'inception_score', 'precision_recall'))

ADM = Preset(
    name='adm',
    source='openai/guided-diffusion evaluations/evaluator.py, on npz files of 8-bit images',
    crop=Crop('ADMCenterCrop', upsample=True),
    rounding='round',  # the evaluator reads 8 bits; how they came to be is the sampler's matter
    reference='external',
    reference_words='VIRTUAL_imagenet256_labeled.npz, statistics of the training set',
    features=ADM_FEATURES,
)
