"""A small FVQ (VAR) for generation: the bundled photos as six scales of codes, each crop most of a photo.

The first of the four commands of docs/generation.md."""

from mmengine.config import read_base

with read_base():
    from .codes_photos import *

from fvq_quantizers import MultiScaleQuantizer
from fvq_quantizers.normalizations import CosineSearch

# By cosine, as in VAR's `using_znorm`, the direction of what remains of the latent decides on every scale, however small it is;
# by distance, 64 channels and an unweighted loss left a handful of codes in use. See docs/generation.md.
inner = model.tokenizer.pop('quantizer')
inner.update(code_dim=32, normalize=dict(type=CosineSearch))
model.tokenizer.update(
    quant_kernel=3, quantizer=dict(type=MultiScaleQuantizer, quantizer=inner, scales=(1, 2, 3, 4, 6, 8), num_phi=4)
)
del inner
# The quantizer's loss is taken at the coarse scales too, which pulls the latent towards its mean over the image.
model.reconstruction_loss.update(weight=10.0)
