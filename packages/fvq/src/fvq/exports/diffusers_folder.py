"""A folder that diffusers' `VQModel.from_pretrained` or `AutoencoderKL.from_pretrained` loads."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from fvq_core.autoencoder import Autoencoder
from fvq_core.autoencoders import KLAutoencoder, MoVQDecoder
from fvq_core.errors import UserError
from fvq_core.files.json import read_json_object
from fvq_core.files.safetensors import read_safetensors
from fvq_quantizers.interop.movq import our_name

from .diffusers_codes import Table, into_table, out_of_table, table_of
from .diffusers_network import network_arguments, refuse
from .files import KEY

CONFIG, WEIGHTS = 'config.json', 'diffusion_pytorch_model.safetensors'

SPATIAL_GROUPS = 32  # of the norms of MoVQ's decoder in diffusers, whatever `norm_num_groups` is


def check_installed() -> None:
    """Raise if the library is missing."""
    if find_spec('diffusers') is None:
        raise UserError('--format diffusers needs diffusers, not installed here; pip install "fvq[diffusers]".')


def build(autoencoder: Autoencoder) -> Any:
    """The model of diffusers with the weights of ours.

    Raises:
        UserError: It has no such network or quantizer, and why.
    """
    import diffusers

    kinds: Any = diffusers
    arguments = network_arguments(autoencoder)
    state = dict(autoencoder.state_dict())
    if isinstance(autoencoder, KLAutoencoder):
        arguments |= kl_arguments(autoencoder, arguments)
        model = kinds.AutoencoderKL(**arguments)
    else:
        table = table_of(autoencoder.quantizer)
        arguments |= vq_arguments(autoencoder, table, arguments)
        surround(state, table, arguments['latent_channels'])
        model = kinds.VQModel(**arguments)
    levels = len(arguments['block_out_channels'])
    weights = {}
    for key, value in model.state_dict().items():
        ours = state[our_name(key, levels)]
        weights[key] = ours.reshape(value.shape).clone()  # attention's 1x1 convolutions are linear maps there
    model.load_state_dict(weights)
    return model.eval()


def kl_arguments(autoencoder: KLAutoencoder, arguments: dict[str, Any]) -> dict[str, Any]:
    """Those that only `AutoencoderKL` has."""
    D, features = autoencoder.latent_channels, autoencoder.encoder.out_channels
    if autoencoder.log_variance is not None:
        raise refuse(f"its log variance is the encoder's, not the constant {autoencoder.log_variance}")
    if arguments['latent_channels'] != D or features != 2 * D:
        raise refuse(
            f'the encoder gives {features} channels, the decoder takes {arguments["latent_channels"]} and the latent has {D}, '
            'and there they are twice the latent, the latent and the latent'
        )
    has = not isinstance(autoencoder.pre_quant, torch.nn.Identity)
    return dict(
        use_quant_conv=has,
        use_post_quant_conv=has,
        scaling_factor=autoencoder.latent_scale,
        shift_factor=autoencoder.latent_shift or None,
    )


def vq_arguments(autoencoder: Autoencoder, table: Table, arguments: dict[str, Any]) -> dict[str, Any]:
    """Those that only `VQModel` has."""
    features, latent = autoencoder.encoder.out_channels, arguments['latent_channels']
    if features != latent:
        raise refuse(
            f'the encoder gives {features} channels and the decoder takes {latent}, and there they are as many'
        )
    K, E = table.codes_KE.shape
    spatial = isinstance(autoencoder.decoder, MoVQDecoder)
    if spatial and latent != E:
        raise refuse(
            f"codes of {E} channels modulate the decoder's norms, and there they have the decoder's {latent} channels"
        )
    if spatial and (groups := arguments['norm_num_groups']) != SPATIAL_GROUPS:
        raise refuse(f"the decoder's modulated norms have {groups} groups, and there always {SPATIAL_GROUPS}")
    # With the lookup, decode(codes, force_not_quantize=True, shape=(B, h, w, E)) takes codes.
    return dict(
        num_vq_embeddings=K,
        vq_embed_dim=E,
        scaling_factor=1.0,
        norm_type='spatial' if spatial else 'group',
        lookup_from_codebook=True,
    )


def surround(state: dict[str, Tensor], table: Table, features: int) -> None:
    """Set the codes, and the convolutions around them, which are the identity if there are none."""
    eye = torch.eye(features)[..., None, None]
    for name in ('pre_quant', 'post_quant'):
        state.setdefault(f'{name}.weight', eye)
        state.setdefault(f'{name}.bias', torch.zeros(features))
    weight, bias = into_table(state['pre_quant.weight'], state['pre_quant.bias'], table.extra)
    post = out_of_table(state['post_quant.weight'], table.extra)
    state |= {'pre_quant.weight': weight, 'pre_quant.bias': bias, 'post_quant.weight': post}
    state['quantizer.embedding'] = table.codes_KE


def stamp(folder: Path, facts: str) -> None:
    """Put the facts into the metadata of the file with the weights."""
    path, new = folder / WEIGHTS, folder / f'{WEIGHTS}.new'  # the tensors read are maps of the old file
    save_file(read_safetensors(path, 'export it again'), new, metadata={'format': 'pt', KEY: facts})
    new.chmod((folder / CONFIG).stat().st_mode)
    new.replace(path)


class LoadedFolder:
    """The folder as diffusers reads it."""

    def __init__(self, folder: Path) -> None:
        import diffusers

        kind = read_json_object(folder / CONFIG, 'export it again')['_class_name']
        self.model: Any = getattr(diffusers, kind).from_pretrained(folder, low_cpu_mem_usage=False).eval()

    def encode(self, images: Tensor) -> Tensor:
        if not hasattr(self.model, 'quantize'):
            return self.model.encode(images).latent_dist.parameters
        z_BEHW = self.model.encode(images).latents
        B, _, H, W = z_BEHW.shape
        return self.model.quantize(z_BEHW)[2][2].view(B, H, W)

    def decode(self, given: Tensor) -> Tensor:
        if not hasattr(self.model, 'quantize'):
            return self.model.decode(given).sample
        shape = (*given.shape, self.model.config.vq_embed_dim)
        return self.model.decode(given, force_not_quantize=True, shape=shape).sample
