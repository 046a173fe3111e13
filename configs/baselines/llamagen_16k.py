"""LlamaGen's VQ-16: 8 channels, latents and codes l2-normalised ("VQGAN" in the paper's table 3)."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256 import *
    from .._base_.models.vqgan import *
    from .._base_.schedules.constant_40e import *

from fvq_quantizers.inits import UniformInit
from fvq_quantizers.normalizations import L2Normalize

model.tokenizer.quantizer.update(
    code_dim=8, normalize=dict(type=L2Normalize), init=dict(type=UniformInit, normalize=True)
)
paper = dict(
    rows=['t1.5', 't3.1', 't7.1', 't8.7'],
    rfid_in1k=2.19,
    rfid_coco=8.43,
    lpips=0.14,
    psnr=20.79,
    ssim=0.675,
    usage=97,
)
