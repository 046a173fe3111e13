"""KL autoencoders of latent diffusion, MAR and diffusers, imported as `tools/convert.py` does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from fvq_core.autoencoders import KLAutoencoder
from fvq_core.interop.key_map import rename
from fvq_core.registry import IMPORTERS, TOKENIZERS
from fvq_core.saving.weights import load_weights
from fvq_quantizers.interop.kl import rename_diffusers
from fvq_quantizers.interop.taming_autoencoder import autoencoder_rules

from ..case import Case
from .gradients import peer_gradient
from .vqgan_family import weight_in_call

Rename = Callable[[dict[str, Tensor]], Mapping[str, Tensor]]


def latent_diffusion(case: Case) -> dict[str, Tensor]:
    return whole(case, 'ldm-kl', lambda state: state)


def mar(case: Case) -> dict[str, Tensor]:
    return whole(case, 'mar-kl', lambda state: state)


def diffusers(case: Case) -> dict[str, Tensor]:
    options = {'norm_groups': case.constructor.get('norm_num_groups', 32)}
    options |= {'latent_scale': case.constructor.get('scaling_factor', 0.18215)}
    options |= {'latent_shift': case.constructor.get('shift_factor')}
    levels = len(case.constructor['block_out_channels'])
    return whole(case, 'diffusers-kl', lambda state: rename_diffusers(state, levels), **options)


def whole(case: Case, peer: str, to_latent_diffusion: Rename, **options: Any) -> dict[str, Tensor]:
    config, state = IMPORTERS.resolve(peer).read(case.state, **options)
    autoencoder: KLAutoencoder = TOKENIZERS.build(config)
    load_weights(autoencoder, state, case.name)
    autoencoder.train(case.training)
    images = case.inputs['image']
    posterior = autoencoder.posterior(images)
    z = posterior.sample(case.inputs['eps'])
    dec = autoencoder.decode_latent(z)
    kl = posterior.kl()
    scalar = (dec * case.inputs['grad_dec']).sum() + weight_in_call(case, r'sum\([\w.]*kl') * kl.mean()
    scalar.backward()
    got = {
        'mean': posterior.mean,
        'logvar': posterior.log_variance,
        'z': z,
        'kl': kl,
        'nll': posterior.nll(z),
        'dec': dec,
        'dec_mode': autoencoder.decode_latent(posterior.mode())[:1],
        'scalar': scalar,
    }
    rules = autoencoder_rules(len(config['encoder']['ch_mult']) - 1)
    for name in case.outputs:
        if name.startswith('g:'):
            key = name.removeprefix('g:')
            got[name] = peer_gradient(
                autoencoder, lambda one: rename(to_latent_diffusion(one), rules, case.name), key, case.state[key]
            )
    return got
