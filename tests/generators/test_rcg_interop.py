"""Files of RCG's: what is read of them, what is left, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fvq_core.config.read import load_config
from fvq_core.errors import UserError
from fvq_generators import MAGE
from fvq_generators.interop.rcg import MAGEImporter, import_mage, import_rdm
from tests.tiny import build_from_peer


def linear(key: str, out: int, width: int) -> dict[str, Tensor]:
    return {f'{key}.weight': torch.randn(out, width), f'{key}.bias': torch.randn(out)}


def norm(key: str, width: int) -> dict[str, Tensor]:
    return {f'{key}.weight': torch.rand(width), f'{key}.bias': torch.randn(width)}


def released_rdm(classes: int | None) -> dict[str, Tensor]:
    """A file of RCG's, with vectors of 6, 16 channels, 12 in the bottleneck, 8 of the time and 4 of the class."""
    net = 'model.diffusion_model'
    state = linear(f'{net}.time_embed.0', 8, 16) | linear(f'{net}.time_embed.2', 8, 8)
    state |= linear(f'{net}.input_proj', 16, 6) | norm(f'{net}.out.0', 16) | linear(f'{net}.out.2', 6, 16)
    for block in (f'{net}.res_blocks.{number}' for number in range(2)):
        state |= norm(f'{block}.in_layers.0', 16) | linear(f'{block}.in_layers.2', 12, 16)
        state |= linear(f'{block}.emb_layers.1', 12, 8)
        state |= norm(f'{block}.out_layers.0', 12) | linear(f'{block}.out_layers.3', 16, 12)
        state |= linear(f'{block}.context_layers.1', 12, 4) if classes else {}
    state['cond_stage_model.embedding.weight'] = torch.randn(classes or 1, 4)
    unread = ('betas', 'sqrt_alphas_cumprod', 'posterior_variance', 'pretrained_encoder.head.weight')
    return state | {key: torch.zeros(3) for key in unread}


@pytest.mark.parametrize('classes', [5, None])
def test_files_of_the_diffusion_are_read(classes: int | None):
    model = build_from_peer('rcg-rdm', released_rdm(classes), steps=40)
    assert model.num_classes == (classes or 1)
    assert (model.layout.channels, len(model.blocks), model.process.steps) == (6, 2, 40)
    drawn = [model.sample(torch.tensor([label]), seeds=[1], steps=4).values for label in (0, 4)]
    assert torch.equal(*drawn) == (classes is None)
    broken = released_rdm(classes)
    broken['model.diffusion_model.other.weight'] = torch.zeros(1)
    with pytest.raises(UserError, match=r'RCG: unknown key model.diffusion_model.other.weight'):
        build_from_peer('rcg-rdm', broken)


def released_mage() -> dict[str, Tensor]:
    """A file of RCG's for 4x4 codes of 8 and vectors of 6, of 16 channels and in the decoder 8."""
    state = linear('latent_prior_proj', 16, 6) | norm('token_emb.LayerNorm', 16)
    state |= norm('norm', 16) | norm('decoder_norm', 8) | linear('decoder_embed', 8, 16)
    state |= linear('mlm_layer.fc', 16, 8) | norm('mlm_layer.ln', 16)
    for block, width in (('blocks.0', 16), ('blocks.1', 16), ('decoder_blocks.0', 8)):
        state |= norm(f'{block}.norm1', width) | norm(f'{block}.norm2', width)
        state |= linear(f'{block}.attn.qkv', 3 * width, width) | linear(f'{block}.attn.proj', width, width)
        state |= linear(f'{block}.mlp.fc1', 4 * width, width) | linear(f'{block}.mlp.fc2', width, 4 * width)
    state |= {
        'token_emb.word_embeddings.weight': torch.arange(1009.0)[:, None].repeat(1, 16),
        'token_emb.position_embeddings.weight': torch.randn(17, 16),
        'decoder_pos_embed_learned': torch.randn(1, 17, 8),
        'mlm_layer.bias': torch.arange(1009.0).view(1, 1, -1),
        'fake_latent': torch.randn(1, 6),
    }
    unread = (
        'cls_token',
        'mask_token',
        'pos_embed',
        'decoder_pos_embed',
        'token_emb.position_ids',
        'vqgan.x',
        'decoder_pred.bias',
    )
    return state | {key: torch.zeros(3) for key in unread}


def test_files_of_mage_are_read():
    model = build_from_peer('rcg-mage', released_mage(), heads=4, decoder_heads=2)
    assert (model.layout.shape, model.layout.vocab_size, model.caption_shape) == ((4, 4), 8, (1, 6))
    assert model.codes.table.weight[:, 0].tolist() == [*range(8), 1008], 'the codes and the mask, which is last'
    assert model.head_bias.tolist() == list(range(8))
    assert (len(model.encoder), len(model.decoder)) == (2, 1)
    without = build_from_peer('rcg-mage', released_mage(), heads=4, decoder_heads=2, cond_dropout=0.0)
    assert without.condition.none is None
    with pytest.raises(UserError, match='give a divisor'):
        build_from_peer('rcg-mage', released_mage())


def test_files_of_other_models_are_told():
    with pytest.raises(UserError, match='not a representation diffusion model'):
        import_rdm({'model.weight': torch.zeros(1)})
    with pytest.raises(UserError, match='not a MAGE'):
        import_mage({'model.weight': torch.zeros(1)})
    words = {'token_emb.word_embeddings.weight': torch.zeros(1025, 4), 'mlm_layer.bias': torch.zeros(1, 1, 1025)}
    with pytest.raises(UserError, match='looks at no representation'):
        import_mage(words)


def test_the_large_mage_is_saved_with_the_settings_of_the_row():
    large = build_on_meta(dim=1024, depth=1)
    sampling = load_config('configs/generation/rcg.py').default_hooks.report.sampling
    assert MAGEImporter.sampling(large) == dict(sampling) == dict(choice_temperature=11.0)
    assert MAGEImporter.sampling(build_on_meta(dim=768, depth=1)) == {}, 'the default is that of the base model'


def build_on_meta(**sizes: int) -> MAGE:
    with torch.device('meta'):
        return MAGE(dict(type='Grid', height=4, width=4, codebook_size=8), **sizes)
