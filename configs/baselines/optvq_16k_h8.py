"""OptVQ with eight codes of 32 channels a position; its README has rFID 0.91, PSNR 27.57 (luma) and LPIPS 0.066."""

from mmengine.config import read_base

with read_base():
    from .optvq_16k import *

model.tokenizer.quantizer.update(groups=8)
model.tokenizer.quantizer.quantizer.update(code_dim=32, projector=dict(type=LinearProjector, std=32**-0.5))
