"""A tiny tokenizer around every registered encoder and decoder, for what must hold for all of them.

Registered a new one? Add a tokenizer with it to `tokenizers`; `test_autoencoder_matrix.py` fails until it is there.
"""

from __future__ import annotations

from typing import Any

from tests.tiny import HALF, PROXY_HEAD, kl_config, maskgit_config, titok_config, tokenizer_config

VQ = dict(type='VectorQuantizer', codebook_size=16, code_dim=8, init=dict(type='NormalInit', std=0.3))
UNIT = dict(type='L2Normalize')
VIT = dict(patch_size=4, width=16, depth=1, heads=2, mlp_width=24, head_width=8)
QUERY: dict[str, Any] = dict(patch_size=4, width=16, depth=2, heads=2, groups=2, z_channels=4, layer_scale=1.0)
PYRAMID = dict(type='MultiScaleQuantizer', scales=(1, (2, 3)), num_phi=1)
QFORMER = dict(width=16, depth=2, heads=2, tokens=8, z_channels=8, init_std=0.25)
CONVOLUTIONS = {key: value for key, value in HALF.items() if key != 'attention'}
VITAMIN = dict(conv_widths=(8,), conv_depths=(2,), width=16, depth=1, heads=2, z_channels=8)


def tokenizers(height: int, width: int) -> dict[str, dict[str, Any]]:
    """By name; sides are those of the images, multiples of 8, and only matter where positions are learned."""

    def pair(
        encoder: str, decoder: str, sizes: dict[str, Any], quantizer: dict[str, Any], kernel: int
    ) -> dict[str, Any]:
        halves = dict(encoder=dict(type=encoder, **sizes), decoder=dict(type=decoder, **sizes))
        return dict(type='Tokenizer', **halves, quantizer=quantizer, quant_kernel=kernel)

    def titok(**options: Any) -> dict[str, Any]:
        config = titok_config(**options)
        for half in ('encoder', 'decoder'):
            config[half]['image_size'] = (height, width)
        config['quantizer']['init'] = VQ['init']
        return config

    product = dict(type='ProductQuantizer', quantizer=dict(VQ, code_dim=4, normalize=UNIT), groups=2)
    maskgit = maskgit_config()
    query = dict(QUERY, image_size=(height, width))
    latents = dict(type='LatentEncoder', autoencoder=kl_config(latent_scale=0.5, latent_shift=0.25))
    size = dict(height=height // 2, width=width // 2)
    rectifier = dict(HALF, type='VQGANDecoder', ch_mult=(1,), z_channels=4, out_channels=4)
    gigatok = pair('QFormerEncoder', 'QFormerDecoder', dict(QFORMER, image_size=(height, width)), VQ, 0)
    gigatok['encoder']['cnn'] = dict(type='VQGANEncoder', **HALF)
    gigatok['decoder']['cnn'] = dict(type='AdaptiveGroupNormDecoder', **CONVOLUTIONS, mid_blocks=2, bias=True)
    return {
        'vqgan': tokenizer_config(VQ),
        'magvit2': pair('MAGVIT2Encoder', 'AdaptiveGroupNormDecoder', CONVOLUTIONS, VQ, 0),
        'maskgit': dict(maskgit, quantizer=VQ),
        'movq': pair('VQGANEncoder', 'MoVQDecoder', HALF, dict(product, shared=True), 1),
        'vit-vqgan': pair(
            'ViTVQGANEncoder', 'ViTVQGANDecoder', VIT, dict(VQ, normalize=dict(UNIT, straight_to_latent=True)), 1
        ),
        'unitok': pair('ViTaminEncoder', 'ViTaminDecoder', VITAMIN, product, 0),
        'unitok, causal': pair('ViTaminEncoder', 'ViTaminDecoder', dict(VITAMIN, causal=True), product, 0),
        'unitok, linear': pair('ViTaminEncoder', 'ViTaminDecoder', dict(VITAMIN, z_channels=None), product, 1),
        'xqgan': pair('QueryViTEncoder', 'QueryViTDecoder', query, product, 0),
        'xqgan, scales': pair(
            'QueryViTEncoder',
            'QueryViTDecoder',
            dict(query, latent_size=(2, 3), shared_positions=False),
            dict(type='ProductQuantizer', quantizer=dict(PYRAMID, quantizer=dict(VQ, code_dim=4)), groups=2),
            0,
        ),
        'frozen latents': dict(
            type='LatentTokenizer', encoder=latents, quantizer=dict(VQ, code_dim=4), decoder=rectifier
        ),
        'flat latents': dict(
            type='LatentTokenizer',
            encoder=dict(latents, adapter=dict(size, type='FlatLatentEncoder', tokens=2)),
            quantizer=dict(type='ProductQuantizer', quantizer=dict(VQ, code_dim=width // 2), groups=height),
            decoder=dict(size, type='FlatLatentDecoder', tokens=2, rectifier=rectifier),
        ),
        'flat latents, no rectifier': dict(
            type='LatentTokenizer',
            encoder=dict(latents, adapter=dict(size, type='FlatLatentEncoder')),
            quantizer=dict(VQ, code_dim=height * width),
            decoder=dict(size, type='FlatLatentDecoder'),
        ),
        'gigatok': gigatok,
        'titok': titok(),
        'titok, two stages': titok(head=PROXY_HEAD),
    }


# Parts of other decoders, which a tokenizer above has inside.
HEADS = {
    'PatchHead': 'titok',
    'ProxyCodesHead': 'titok, two stages',
    'IdentityEncoder': 'frozen latents',
    'FlatLatentEncoder': 'flat latents',
    'AffineDecoder': 'flat latents, no rectifier',
}
