"""FVQ with 16,384 codes of 256 channels, 40 epochs: the paper's main row."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256 import *
    from .._base_.models.vqgan import *
    from .._base_.schedules.annealed_40e import *

from fvq_quantizers.projectors import VQBridge

model.tokenizer.quantizer.update(projector=dict(type=VQBridge, patch_size=16))
paper = dict(
    rows=['t1.10', 't3.6', 't5.4', 't7.2', 't8.16', 't9.1'],
    rfid_in1k=1.30,
    rfid_coco=6.84,
    lpips=0.13,
    psnr=22.36,
    ssim=0.648,
    usage=100,
    figure=6,  # the size that both of its halves start from
)
