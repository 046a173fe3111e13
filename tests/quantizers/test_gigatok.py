"""GigaTok's Q-Formers between convolutions, and the importer of its files."""

from __future__ import annotations

import functools
import itertools
import math
import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.autoencoders.layers.qformer import QFormerBlock
from fvq_core.autoencoders.qformer import level_means
from fvq_core.codes import CodeLayout, Sequence
from fvq_core.config.read import read_config_file
from fvq_core.errors import UserError
from fvq_core.registry import TOKENIZERS
from fvq_core.tokenizer import Tokenizer
from fvq_core.zoo import check_described, model_config
from fvq_quantizers.interop.gigatok import import_tokenizer

from ..tiny import build_from_peer, random_images

CNN: dict[str, Any] = dict(ch=32, ch_mult=(1, 2), z_channels=6)
ENCODER: dict[str, Any] = dict(type='VQGANEncoder', **CNN, num_res_blocks=1, attention=False)
DECODER: dict[str, Any] = dict(type='AdaptiveGroupNormDecoder', **CNN, num_res_blocks=2, mid_blocks=2, bias=True)
HALF: dict[str, Any] = dict(image_size=8, width=16, depth=2, heads=2, tokens=8, z_channels=4)
VQ: dict[str, Any] = dict(type='VectorQuantizer', codebook_size=16, code_dim=4, normalize=dict(type='L2Normalize'))
ROWS = {'gigatok_ss': 136, 'gigatok_sb': 232, 'gigatok_bl': 622, 'gigatok_bl_dino': 622, 'gigatok_xl_xxl': 2894}


def tokenizer(**changes: Any) -> Tokenizer:
    """Every parameter random."""
    encoder = dict(type='QFormerEncoder', cnn=ENCODER, **{**HALF, **changes})
    decoder = dict(type='QFormerDecoder', cnn=DECODER, **{**HALF, **changes})
    built: Tokenizer = TOKENIZERS.build(
        dict(type='Tokenizer', encoder=encoder, quantizer=VQ, decoder=decoder, quant_kernel=0)
    )
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return built.eval()


def peer_state(ours: Tokenizer) -> dict[str, Tensor]:
    """The same in the peer's keys and shapes."""
    found: dict[str, Tensor] = {}
    last = len(ours.decoder.cnn.levels[0]) - 1
    for key, value in ours.state_dict().items():
        theirs = key.replace('encoder.transformer.memory_', 's2to1encoder.').replace(
            'decoder.transformer.memory_', 's1to2decoder.latent_token_'
        )
        theirs = theirs.replace('encoder.transformer.positions', 's2to1encoder.latent_token_positions')
        theirs = theirs.replace('decoder.transformer.positions', 's1to2decoder.positions')
        theirs = theirs.replace('positions', 'positional_embedding')
        theirs = theirs.replace('encoder.to_latent', 'quant_conv').replace('decoder.from_latent', 'post_quant_conv')
        theirs = theirs.replace('quantizer.embedding', 'quantize.embedding.weight')
        theirs = re.sub(r'^encoder\.(?!cnn)', 's2to1encoder.', re.sub(r'^decoder\.(?!cnn)', 's1to2decoder.', theirs))
        theirs = re.sub(r'(encoder|decoder)\.embed\.1', r'\1.\1_embed', theirs).replace('embed.0', 'ln_pre')
        theirs = theirs.replace('transformer.norm.', 'ln_post.').replace('transformer.blocks', 'transformer')
        theirs = theirs.replace('query_map', 'global_proj').replace('proj_out', 'conv_out')
        theirs = theirs.replace('cross_attn', 'multihead_attn').replace('mlp.fc', 'linear').replace('cnn.', '')
        theirs = theirs.replace('encoder.mid.2', 'encoder.mid.1').replace('shortcut', 'nin_shortcut')
        theirs = re.sub(r'encoder\.levels\.(\d)\.blocks\.', r'encoder.conv_blocks.\1.res.', theirs)
        theirs = re.sub(rf'decoder\.levels\.(\d)\.{last}\.conv\.', r'decoder.conv_blocks.\1.upsample.conv1.', theirs)
        theirs = re.sub(r'decoder\.levels\.(\d)\.(\d)\.', r'decoder.conv_blocks.\1.res.\2.', theirs)
        theirs = re.sub(r'levels\.(\d)\.downsample', r'conv_blocks.\1.downsample', theirs)
        theirs = re.sub(r'(adaptive\.\d)\.scale', r'\1.gamma', theirs)
        theirs = re.sub(r'(adaptive\.\d)\.shift', r'\1.beta', theirs)
        if theirs.endswith('positional_embedding'):
            value = value[:, None]
        elif theirs in ('quant_conv.weight', 'post_quant_conv.weight', 's2to1encoder.conv_out.weight'):
            value = value[..., None, None]
        elif 'upsample' in theirs:  # (row, column, channel) in place of (channel, row, column)
            value = value.unflatten(0, (-1, 4)).transpose(0, 1).flatten(0, 1)
        found[theirs] = value
    return found


@pytest.mark.parametrize('changes', [{}, dict(image_size=16, tokens=16), dict(tokens=1)])
@torch.no_grad()
def test_an_imported_file_encodes_and_decodes_as_the_model_it_is_from(changes: dict[str, Any]) -> None:
    ours = tokenizer(**changes)
    images = random_images(2, *ours.encoder.image_size)
    extra = {'s1to2decoder.distill_mlp.0.weight': torch.zeros(3, 3), 'quantize.codebook_used': torch.zeros(9)}
    imported = build_from_peer('gigatok', peer_state(ours) | extra, heads=2)
    one, other = ours(images), imported(images)
    assert one.codes == other.codes
    assert torch.equal(one.reconstruction, other.reconstruction)


def test_files_of_other_models_are_refused() -> None:
    state = peer_state(tokenizer())
    with pytest.raises(UserError, match='GigaTok: a width of 16 does not tell the number of heads'):
        build_from_peer('gigatok', state)
    grid = {key.replace('s2to1encoder', 's2dencoder'): value for key, value in state.items()}
    with pytest.raises(UserError, match=r'not a 1-D tokenizer of GigaTok: no s2to1encoder\.global_proj'):
        build_from_peer('gigatok', grid, heads=2)
    with pytest.raises(UserError, match=r'GigaTok: unknown key encoder\.conv_blocks\.1\.attn\.0\.q\.bias'):
        build_from_peer('gigatok', state | {'encoder.conv_blocks.1.attn.0.q.bias': torch.zeros(4)}, heads=2)


def test_queries_start_as_means_over_the_image_its_halves_and_so_on() -> None:
    x_BCHW = torch.randn(2, 3, 4, 8)
    found = level_means(x_BCHW, 16)
    windows = [(0, 4, 0, 8)] * 2  # top, bottom, left, right
    windows += [(0, 4, left, left + 4) for left in (0, 4)]
    windows += [(top, top + 2, left, left + 4) for top in (0, 2) for left in (0, 4)]
    windows += [(top, top + 2, left, left + 2) for top in (0, 2) for left in (0, 2, 4, 6)]
    expected = [x_BCHW[:, :, top:bottom, left:right].mean((2, 3)) for top, bottom, left, right in windows]
    torch.testing.assert_close(found, torch.stack(expected, 1))
    assert torch.equal(level_means(x_BCHW, 2)[:, 0], level_means(x_BCHW, 1)[:, 0])


def attend(part: Any, q_LC: Tensor, k_NC: Tensor, v_NC: Tensor, heads: int) -> Tensor:
    """Attention head by head, from its formula."""
    (wq, wk, wv), (bq, bk, bv) = part.in_proj_weight.chunk(3), part.in_proj_bias.chunk(3)
    q, k, v = q_LC @ wq.T + bq, k_NC @ wk.T + bk, v_NC @ wv.T + bv
    found = []
    for head in range(heads):
        c = slice(head * q.shape[1] // heads, (head + 1) * q.shape[1] // heads)
        found.append((q[:, c] @ k[:, c].T / math.sqrt(q.shape[1] / heads)).softmax(1) @ v[:, c])
    return torch.cat(found, 1) @ part.out_proj.weight.T + part.out_proj.bias


def test_a_block_adds_positions_to_what_it_compares_and_to_nothing_else() -> None:
    block, width = QFormerBlock(6, 2), 6
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x, memory, places, memory_places = (torch.randn(length, width) for length in (3, 5, 3, 5))

    def norm(which: Any, h: Tensor) -> Tensor:
        return F.layer_norm(h, (width,), which.weight, which.bias)

    h = norm(block.norm1, x)
    expected = x + attend(block.self_attn, h + places, h + places, h, 2)
    h = norm(block.norm2, expected) + places
    expected = expected + attend(block.cross_attn, h, memory + memory_places, memory, 2)
    h = norm(block.norm3, expected)
    expected = expected + F.gelu(h @ block.mlp.fc1.weight.T + block.mlp.fc1.bias) @ block.mlp.fc2.weight.T
    expected = expected + block.mlp.fc2.bias
    torch.testing.assert_close(block(x[None], memory[None], places, memory_places)[0], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_queries_of_the_decoder_start_as_the_first_token() -> None:
    decoder, seen = tokenizer().decoder, []
    decoder.transformer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs))
    z_BDL = torch.randn(2, 4, 8)
    decoder(z_BDL)
    ((queries_BNC, memory_BLC),) = seen
    assert queries_BNC.shape == (2, 16, 16)
    assert torch.equal(queries_BNC, memory_BLC[:, :1].expand(2, 16, 16))
    torch.testing.assert_close(memory_BLC[:, 5], decoder.embed(decoder.from_latent(z_BDL[:, :, 5])))


def test_checkpointing_gives_the_same_gradients() -> None:
    plain, images = tokenizer().train(), random_images(1, 8, 8)
    frugal = tokenizer(checkpointing=True).train()
    frugal.load_state_dict(plain.state_dict())
    for each in (plain, frugal):
        each(images).reconstruction.square().mean().backward()
    for one, other in zip(plain.parameters(), frugal.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None)
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad)


def test_images_and_latents_of_other_sizes_are_refused() -> None:
    ours = tokenizer()
    with pytest.raises(UserError, match='learned for images of 8x8, got 16x8'):
        ours.encode(random_images(1, 16, 8))
    with pytest.raises(UserError, match='made for 8 tokens, got 4'):
        ours.decoder(torch.zeros(1, 4, 4))
    with pytest.raises(UserError, match=r'QFormerEncoder gives 8 tokens, not Sequence\(length=4\)'):
        ours.check_layout(CodeLayout(Sequence(4), 16))
    for tokens in (6, 64):  # no power of two; columns of half a feature
        with pytest.raises(UserError, match=f'{tokens} tokens do not halve a grid of 4x4'):
            tokenizer(tokens=tokens)


@pytest.mark.parametrize(('name', 'millions'), ROWS.items())
def test_rows_have_the_published_sizes(name: str, millions: int) -> None:
    """The release counts the three linear maps of the alignment with DINOv2-B too, which no tokenizer of ours is saved with."""
    model = read_config_file(f'configs/baselines/{name}.py').model
    with torch.device('meta'):
        built = TOKENIZERS.build(model.tokenizer)
    assert built.decoder.transformer.positions.shape == (256, model.alignment.width)
    sizes = [model.alignment.width, model.alignment.hidden, model.alignment.hidden, 768]
    head = sum((before + 1) * after for before, after in itertools.pairwise(sizes))
    assert (head + sum(p.numel() for p in built.parameters())) / 1e6 == pytest.approx(millions, abs=0.5)


@pytest.mark.parametrize(('name', 'options'), [('gigatok_sb', {}), ('gigatok_xl_xxl', dict(entropy_weight=0.005))])
def test_an_imported_file_is_what_the_config_of_its_row_describes(name: str, options: dict[str, Any]) -> None:
    build = functools.partial(TOKENIZERS.build, model_config(name)[1])
    with torch.device('meta'):
        imported = TOKENIZERS.build(import_tokenizer(peer_state(build()), **options)[0])
        check_described(imported, build, name)
