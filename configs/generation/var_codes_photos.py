"""A small FVQ (VAR) for generation: the bundled photos as six scales of codes, each crop most of a photo.

The first of the four commands of docs/generation.md."""

from mmengine.config import read_base

with read_base():
    from .codes_photos import *

from fvq_quantizers import MultiScaleQuantizer
from fvq_quantizers.normalizations import CosineSearch

# By distance, what remains of the latent at the fine scales is nearest to the few codes that are near 0, and perplexity falls
# to a handful of codes. By cosine, as in VAR's `using_znorm`, its direction decides, on every scale.
inner = model.tokenizer.pop('quantizer')
inner.update(code_dim=32, normalize=dict(type=CosineSearch))
model.tokenizer.update(
    quant_kernel=3, quantizer=dict(type=MultiScaleQuantizer, quantizer=inner, scales=(1, 2, 3, 4, 6, 8), num_phi=4)
)
del inner
# The coarse scales' part of the quantizer's loss pulls the latent towards its mean over the image.
model.reconstruction_loss.update(weight=10.0)
