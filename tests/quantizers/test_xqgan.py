"""XQ-GAN's encoder, decoder and quantizers, and the importer of its files."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.autoencoders import QueryViTDecoder, QueryViTEncoder
from fvq_core.codes import CodeLayout, Grid, Pyramid
from fvq_core.errors import UserError
from fvq_core.registry import QUANTIZERS, TOKENIZERS
from fvq_core.tokenizer import Tokenizer
from fvq_core.zoo import model_config
from fvq_quantizers import MultiScaleQuantizer

from ..tiny import build_from_peer, random_images

SIZES: dict[str, Any] = dict(image_size=12, patch_size=4, latent_size=2, width=8, depth=2, heads=2, z_channels=4)
VECTOR: dict[str, Any] = dict(type='VectorQuantizer', codebook_size=16, code_dim=4, normalize=dict(type='L2Normalize'))
COSINE: dict[str, Any] = dict(VECTOR, normalize=dict(type='CosineSearch'), distance=dict(type='DotProduct'))
SCALES: dict[str, Any] = dict(type='MultiScaleQuantizer', quantizer=COSINE, scales=(1, 1, 2), num_phi=2)


def in_groups(quantizer: dict[str, Any]) -> dict[str, Any]:
    return dict(type='ProductQuantizer', quantizer=quantizer, groups=2)


def tokenizer(quantizer: dict[str, Any], **changes: Any) -> Tokenizer:
    """Every parameter random."""
    sizes = {**SIZES, 'groups': quantizer.get('groups', 1), **changes}
    halves = dict(encoder=dict(type='QueryViTEncoder', **sizes), decoder=dict(type='QueryViTDecoder', **sizes))
    built: Tokenizer = TOKENIZERS.build(dict(type='Tokenizer', **halves, quantizer=quantizer, quant_kernel=0))
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return built.eval()


def peer_state(ours: Tokenizer) -> dict[str, Tensor]:
    """The same in the peer's keys."""
    found: dict[str, Tensor] = {}
    for key, value in ours.state_dict().items():
        theirs = re.sub(r'transformer\.blocks\.(\d+)\.scale([12])', r'model.blocks.\1.ls\2.gamma', key)
        theirs = theirs.replace('encoder.patch_embed', 'encoder.model.patch_embed.proj')
        theirs = re.sub(r'transformer\.(blocks|norm)', r'model.\1', theirs)
        for one, name in (('class_token', 'cls_token'), ('positions', 'pos_embed')):
            theirs = theirs.replace(f'transformer.{one}', f'model.{name}')
        theirs = theirs.replace('transformer.kinds', 'lvl_embed.weight')
        theirs = theirs.replace('transformer.latent_positions', 'latent_pos_embed')
        theirs = theirs.replace('encoder.queries', 'encoder.latent_tokens')
        theirs = theirs.replace('decoder.to_pixels', 'decoder.to_pixel.model')
        theirs = theirs.replace('encoder.proj_out', 'quant_conv').replace('decoder.embed', 'post_quant_conv')
        theirs = re.sub(r'^quantizer\.quantizers\.(\d)\.', r'quantizes.\1.', theirs)
        theirs = re.sub(r'^quantizer\.', 'quantize.', theirs)
        theirs = re.sub(r'(?:\.quantizer)?\.embedding$', '.embedding.weight', theirs)
        theirs = re.sub(r'\.phis\.(\d)', r'.quant_resi.qresi_ls.\1', theirs)
        if theirs.endswith('_token'):
            value = value.view(1, 1, -1)
        elif theirs.endswith(('tokens', 'pos_embed')):
            value = value[None]
        elif theirs.endswith('conv.weight'):
            value = value[..., None, None]
        found[theirs] = value
        if theirs.endswith('embedding.weight') and theirs.startswith('quantiz'):
            scales = [module.scales for module in ours.quantizer.modules() if isinstance(module, MultiScaleQuantizer)]
            shape = (len(scales[0]), len(value)) if scales else (len(value),)
            found[theirs.replace('embedding.weight', 'ema_vocab_hit_SV')] = torch.zeros(shape)
    return found


@pytest.mark.parametrize(
    ('quantizer', 'changes', 'options'),
    [
        (VECTOR, {}, {}),
        (in_groups(VECTOR), {}, {}),
        (in_groups(VECTOR), dict(shared_positions=False), {}),
        (VECTOR, dict(shared_positions=False, latent_size=3), {}),
        ({**VECTOR, 'normalize': dict(type='NoNormalization')}, {}, dict(l2_norm=False)),
        (SCALES, {}, dict(scales=[1, 1, 2])),
        (in_groups(SCALES), {}, dict(scales=[1, 1, 2])),
    ],
)
@torch.no_grad()
def test_an_imported_file_encodes_and_decodes_as_the_model_it_is_from(
    quantizer: dict[str, Any], changes: dict[str, Any], options: dict[str, Any]
) -> None:
    ours, images = tokenizer(quantizer, **changes), random_images(2, 12, 12)
    extra = {'semantic_model.blocks.0.norm1.bias': torch.zeros(3), 'encoder.lvl1LC': torch.zeros(1, 4)}
    imported = build_from_peer('xqgan', peer_state(ours) | extra, heads=2, **options)
    one, other = ours(images), imported(images)
    assert one.codes == other.codes
    assert torch.equal(one.reconstruction, other.reconstruction)


def test_files_of_other_models_are_refused() -> None:
    state = peer_state(tokenizer(VECTOR))
    with pytest.raises(UserError, match='XQ-GAN: a width of 8 does not tell the number of heads'):
        build_from_peer('xqgan', state)
    with pytest.raises(UserError, match=r'not a tokenizer of its vision transformers: no encoder\.latent_tokens'):
        build_from_peer('xqgan', {key: value for key, value in state.items() if 'latent' not in key})
    with pytest.raises(UserError, match=r'XQ-GAN: unknown key encoder\.model\.reg_token'):
        build_from_peer('xqgan', state | {'encoder.model.reg_token': torch.zeros(1, 4, 8)}, heads=2)


@torch.no_grad()
def test_queries_are_placed_on_the_image() -> None:
    """A token's start is its query, the position of the patches at its place, and a vector of its group."""
    encoder = tokenizer(in_groups(VECTOR)).encoder
    transformer, seen = encoder.transformer, []
    transformer.blocks[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    images = random_images(1, 12, 12)
    encoder(images)
    table = transformer.positions[1:].view(3, 3, 8).permute(2, 0, 1)[None]
    resized = F.interpolate(table, (2, 2), mode='bicubic', antialias=True)[0].flatten(1).T
    queries = encoder.queries.view(2, 4, 8) + resized + transformer.kinds[1:, None]
    torch.testing.assert_close(seen[0][0, 10:], queries.flatten(0, 1))
    start = transformer.class_token + transformer.positions[0] + transformer.kinds[0]
    torch.testing.assert_close(seen[0][0, 0], start)


@torch.no_grad()
def test_pixels_of_a_patch_lie_in_reading_order_with_channels_last() -> None:
    decoder = QueryViTDecoder(image_size=(8, 12), patch_size=4, width=8, depth=1, heads=2, z_channels=4)
    decoder.to_pixels.weight.zero_()
    decoder.to_pixels.bias.copy_(torch.arange(48.0))
    images = decoder(torch.randn(1, 4, 2, 3))
    tile = torch.arange(48.0).view(4, 4, 3).permute(2, 0, 1)
    assert torch.equal(images[0], tile.repeat(1, 2, 3))


def test_images_and_latents_of_other_sizes_are_refused() -> None:
    ours = tokenizer(VECTOR)
    with pytest.raises(UserError, match='learned for images of 12x12, got 16x12'):
        ours.encode(random_images(1, 16, 12))
    with pytest.raises(UserError, match=r'made for a grid \(2, 2\), got \(3, 3\)'):
        ours.decoder(torch.zeros(1, 4, 3, 3))
    with pytest.raises(UserError, match=r'QueryViTEncoder gives Grid\(height=2, width=2\), not Grid'):
        ours.check_layout(CodeLayout(Grid(3, 3), 16))


def test_groups_of_scales_have_a_pyramid_of_pairs_and_lose_the_same_scales() -> None:
    quantizer = QUANTIZERS.build(in_groups(dict(SCALES, dropout=1.0))).train()
    assert quantizer.layout(Grid(2, 2)) == CodeLayout(Pyramid(((1, 1), (1, 1), (2, 2))), (16, 16))
    assert quantizer.latent_positions(quantizer.layout(Grid(2, 2))) == Grid(2, 2)
    seen: list[Tensor] = []
    for group in quantizer.quantizers:
        whole = group.forward
        group.forward = lambda z, kept_B, whole=whole: seen.append(kept_B) or whole(z, kept_B)
    output = quantizer(torch.randn(64, 8, 2, 2))
    assert len(seen[0].unique()) == 3
    assert torch.equal(*seen)
    assert set(output.losses) == {'commitment', 'codebook'}
    with pytest.raises(UserError, match='one code per position'):
        QUANTIZERS.build(dict(in_groups(SCALES), shared=True))


@pytest.mark.parametrize('name', ['xqgan_4k', 'xqgan_8k', 'xqgan_vp2_4k', 'xqgan_msvr_4k', 'xqgan_msvr_8k'])
def test_rows_have_the_published_sizes(name: str) -> None:
    """Two DINOv2-B are 171.4 million; the class, the queries and the linear maps around the codes are the rest."""
    with torch.device('meta'):
        built = TOKENIZERS.build(model_config(name)[1])
    assert isinstance(built.encoder, QueryViTEncoder)
    halves = sum(p.numel() for half in (built.encoder, built.decoder) for p in half.parameters())
    assert halves / 1e6 == pytest.approx(172, rel=0.01)
