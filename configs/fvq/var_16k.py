"""FVQ (VAR): 680 codes on ten scales from one codebook behind a VQBridge.

As released: 128 channels (VAR has 160), 3x3 convolutions around the latent, raw codes from N(0, 1), LlamaGen's losses averaged
over scales. Unlike the release, a tenth of the run is warm-up, as in table 6: the script's default is none, and no launcher for
it was published. Table 4's pair also differs in the size of the codebook (16,384 against 4,096) and of its codes (256 against
32)."""

from mmengine.config import read_base

with read_base():
    from .fvq_16k import *

from fvq_quantizers import MultiScaleQuantizer
from fvq_quantizers.inits import NormalInit

model.tokenizer.update(quant_kernel=3)
inner = model.tokenizer.pop('quantizer')
inner.update(init=dict(type=NormalInit, std=1.0))
model.tokenizer.quantizer = dict(
    type=MultiScaleQuantizer, quantizer=inner, scales=(1, 2, 3, 4, 5, 6, 8, 10, 13, 16), num_phi=4
)
del inner
paper = dict(rows=['t4.5', 't8.28'], rfid_in1k=0.80)
