"""FVQ (RQ-VAE): four residual codes at each of 8x8 positions, from one codebook behind a VQBridge; 10 epochs.

Losses and optimizer are LlamaGen's, as released; RQ-VAE's own recipe differs (`baselines/rqvae_10e.py`). Codebook and
commitment loss are averaged over the four partial sums. So table 4's pair differs in more than the projector."""

from mmengine.config import read_base

with read_base():
    from .fvq_16k import *

from fvq_quantizers import ResidualQuantizer

model.tokenizer.encoder.update(ch_mult=(1, 1, 2, 2, 4, 4))
model.tokenizer.decoder.update(ch_mult=(1, 1, 2, 2, 4, 4))
inner = model.tokenizer.pop('quantizer')
model.tokenizer.quantizer = dict(type=ResidualQuantizer, quantizer=inner, depth=4)
del inner
train_cfg.update(max_epochs=10)
paper = dict(rows=['t4.3', 't8.27'], rfid_in1k=2.98)
