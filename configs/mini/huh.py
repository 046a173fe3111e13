"""Huh et al. (2023): affine codebook and synchronised update, with the numbers of vqtorch's example.

Affine step 10, nu 0.2, weight 0.02 on the commitment and 0.98 on the codebook term. The start is N(0, 1), vqtorch's without
k-means: the example's k-means start and replaced codes write latents into the codebook, which an affine map does not allow
here. `huh_kmeans` has these and no affine map; `alternating` is the third method of the paper."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers.estimators import SynchronizedStraightThrough
from fvq_quantizers.inits import NormalInit
from fvq_quantizers.losses import VQLoss
from fvq_quantizers.projectors import AffineProjector

model.tokenizer.quantizer.update(
    projector=dict(type=AffineProjector, lr=10.0),
    estimator=dict(type=SynchronizedStraightThrough, nu=0.2),
    loss=dict(type=VQLoss, beta=0.02, codebook_weight=0.98),
    init=dict(type=NormalInit, std=1.0),
)
