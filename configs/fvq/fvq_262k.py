"""FVQ with 262,144 codes. Patches of 64, the size that fits table 10's FLOPs."""

from mmengine.config import read_base

with read_base():
    from .fvq_16k import *

model.tokenizer.quantizer.update(codebook_size=262144)
model.tokenizer.quantizer.projector.update(patch_size=64)
paper = dict(
    rows=['t3.11', 't5.8', 't7.4', 't8.18'],
    rfid_in1k=0.95,
    rfid_coco=6.04,
    lpips=0.12,
    psnr=22.90,
    ssim=0.665,
    usage=100,
)
