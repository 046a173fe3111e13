"""StudioGAN's evaluation of GANs (Kang et al., 2022), which GigaGAN's numbers come from."""

from __future__ import annotations

from dataclasses import replace

from ..statistics.conventions import TORCH_FIDELITY
from .preset import Crop, Preset

STUDIOGAN = Preset(
    name='studiogan',
    source='POSTECH-CVLab/PyTorch-StudioGAN src/evaluate.py, --post_resizer friendly --eval_backbone InceptionV3_tf',
    crop=Crop('LanczosCenterCrop'),
    rounding='round',
    preprocessing='friendly',
    reference='external',
    reference_words='images of the whole training set, cropped and resized by Lanczos',
    features=replace(
        TORCH_FIDELITY,
        metrics=('fid', 'inception_score', 'precision_recall'),
        is_splits=1,
        is_shuffle_seed=None,
        pr_neighbours=5,
    ),
)
