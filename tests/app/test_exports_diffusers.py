"""Folders for diffusers: what its models are, and why others are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from fvq.exports.diffusers_codes import table_of
from fvq.exports.diffusers_network import network_arguments
from fvq.exports.formats import export_diffusers
from fvq_core.errors import UserError
from fvq_core.interop.convert import convert_file
from fvq_core.registry import TOKENIZERS
from tests.core.autoencoder_matrix import tokenizers
from tests.quantizers.matrix import AXES, TINY_QUANTIZERS, VECTOR, D, build
from tests.tiny import HALF, kl_config, random_images, tiny_tokenizer, tokenizer_config

UNIT, DOT = dict(VECTOR, **AXES['llamagen']), dict(VECTOR, distance=dict(type='DotProduct'))
ATTENTIVE = dict(HALF, attention=[0], num_res_blocks=2)


def movq(**changes: Any) -> dict[str, Any]:
    half = dict(HALF, ch=32, norm_groups=32) | changes
    return dict(
        type='Tokenizer',
        encoder=dict(type='VQGANEncoder', **half),
        quantizer=VECTOR,
        decoder=dict(type='MoVQDecoder', **half),
    )


def halves(**changes: Any) -> dict[str, Any]:
    config = tokenizer_config(VECTOR)
    return dict(config, encoder=dict(config['encoder'], **changes), decoder=dict(config['decoder'], **changes))


EXPRESSED: dict[str, dict[str, Any]] = {
    'vqgan': tokenizer_config(VECTOR),
    'attention in a level of its own': halves(**ATTENTIVE),
    'llamagen': tokenizer_config(UNIT),
    'ibq': tokenizer_config(DOT),
    'no convolutions around the codes': dict(tokenizer_config(DOT), quant_kernel=0),
    'movq': movq(),
    'kl': kl_config(latent_scale=0.5, latent_shift=0.25),
    'kl without convolutions': kl_config(quant_kernel=0),
}


@pytest.mark.parametrize('name', EXPRESSED)
def test_diffusers_loads_it_with_the_same_codes_and_pixels(name: str, tmp_path: Path) -> None:
    diffusers = pytest.importorskip('diffusers')
    torch.manual_seed(1)  # errors are absolute, and with 0 one of these random decoders gives pixels of size 7
    autoencoder = TOKENIZERS.build(EXPRESSED[name]).eval()
    for key, parameter in autoencoder.named_parameters():
        if key.endswith('embedding'):
            torch.nn.init.normal_(parameter)
    found = export_diffusers(autoencoder, tmp_path / 'out')
    assert found.problem() is None
    kind = diffusers.AutoencoderKL if name.startswith('kl') else diffusers.VQModel
    model = kind.from_pretrained(tmp_path / 'out', low_cpu_mem_usage=False).eval()
    images = random_images()
    with torch.no_grad():
        if name.startswith('kl'):
            assert model.config.scaling_factor == autoencoder.latent_scale
            torch.testing.assert_close(model.encode(images).latent_dist.mode(), autoencoder.encode(images).values)
        else:
            torch.testing.assert_close(model(images).sample, autoencoder(images).reconstruction)
    with safe_open(tmp_path / 'out/diffusion_pytorch_model.safetensors', 'pt') as file:
        facts = json.loads(file.metadata()['fvq'])
    assert facts['compared']['crops'] == 60


def test_modulated_norms_of_other_groups_are_refused(tmp_path: Path) -> None:
    pytest.importorskip('diffusers')
    with pytest.raises(UserError, match='modulated norms have 4 groups, and there always 32'):
        export_diffusers(TOKENIZERS.build(movq(norm_groups=4)).eval(), tmp_path / 'out')


def test_an_export_is_imported_again(tmp_path: Path) -> None:
    pytest.importorskip('diffusers')
    tokenizer = tiny_tokenizer(VECTOR).fold()
    export_diffusers(tokenizer, tmp_path / 'out')
    weights = tmp_path / 'out/diffusion_pytorch_model.safetensors'
    again = convert_file('diffusers-vq', weights, tmp_path / 'again', norm_groups=4)
    assert {key: value.tolist() for key, value in again.state_dict().items()} == {
        key: value.tolist() for key, value in tokenizer.state_dict().items()
    }


@pytest.mark.parametrize('name', TINY_QUANTIZERS)
def test_only_tables_of_codes_are_expressed(name: str) -> None:
    quantizer = build({'type': name, **TINY_QUANTIZERS[name]})
    if name == 'VectorQuantizer':
        assert torch.equal(table_of(quantizer).codes_KE, quantizer.codebook())
    else:
        with pytest.raises(UserError, match=f'one a position, and {name} has others'):
            table_of(quantizer)


def test_the_largest_dot_product_is_the_least_distance_with_one_more_channel() -> None:
    torch.manual_seed(0)
    quantizer, z = build(DOT), torch.randn(2, D, 4, 6)
    table = table_of(quantizer)
    z_NE = torch.cat([z.movedim(1, -1).flatten(0, 2), torch.zeros(48, 1)], 1)
    assert table.extra == 1
    assert torch.equal(torch.cdist(z_NE, table.codes_KE).argmin(1), quantizer(z).codes.indices_BL.flatten())
    with pytest.raises(UserError, match='CosineSearch searches other vectors'):
        table_of(build(dict(VECTOR, **AXES['cosine'])))


@pytest.mark.parametrize(
    ('config', 'reason'),
    [
        *(
            (tokenizers(16, 24)[name], 'its networks are those of VQGAN')
            for name in ('magvit2', 'maskgit', 'titok', 'unitok')
        ),
        (halves(ch_mult=(2, 2)), 'ch_mult begins with 2'),
        (halves(num_res_blocks=(0, 1)), r'levels have \[0, 1\] residual blocks'),
        (dict(halves(), quant_kernel=3), 'quant_kernel is 3'),
        (dict(halves(), decoder=dict(halves()['decoder'], extra_blocks=0)), 'have 0 more blocks'),
        (
            dict(halves(), decoder=dict(halves()['decoder'], norm_groups=2)),
            'norm_groups is 4 in the encoder, 2 in the decoder',
        ),
        (dict(halves(), decoder=dict(halves()['decoder'], attention=True)), 'only one of encoder and decoder'),
    ],
)
def test_other_networks_are_refused_with_the_reason(config: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        network_arguments(TOKENIZERS.build(config))
