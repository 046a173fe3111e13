"""The checkpoint layouts of other projects' tokenizers: maps from their keys to ours, and configs read off their shapes."""

from . import (
    fvq_release,
    gigatok,
    ibq,
    infinity_vae,
    kl,
    llamagen,
    maskgit_vq,
    movq,
    open_magvit2,
    optvq,
    rqvae,
    taming,
    titok,
    unitok,
    var,
    vit_vqgan,
)

__all__ = [
    'fvq_release',
    'gigatok',
    'ibq',
    'infinity_vae',
    'kl',
    'llamagen',
    'maskgit_vq',
    'movq',
    'open_magvit2',
    'optvq',
    'rqvae',
    'taming',
    'titok',
    'unitok',
    'var',
    'vit_vqgan',
]
