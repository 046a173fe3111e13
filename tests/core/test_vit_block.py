"""The block against torch's own encoder layer, and the options that other systems need."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from fvq_core.autoencoders.layers.vit_block import MLP, SelfAttention, ViTBlock
from fvq_core.errors import UserError


def test_equals_torchs_pre_norm_encoder_layer():
    torch.manual_seed(0)
    reference = nn.TransformerEncoderLayer(
        24, 4, 96, dropout=0.0, activation='gelu', batch_first=True, norm_first=True
    ).eval()
    for norm in (reference.norm1, reference.norm2):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    attention: nn.MultiheadAttention = reference.self_attn
    block = ViTBlock(24, 4)
    block.attn.qkv.load_state_dict({'weight': attention.in_proj_weight, 'bias': attention.in_proj_bias})
    block.attn.proj.load_state_dict(attention.out_proj.state_dict())
    block.mlp.fc1.load_state_dict(reference.linear1.state_dict())
    block.mlp.fc2.load_state_dict(reference.linear2.state_dict())
    block.norm1.load_state_dict(reference.norm1.state_dict())
    block.norm2.load_state_dict(reference.norm2.state_dict())
    x_BTC = torch.randn(2, 7, 24)
    torch.testing.assert_close(block(x_BTC), reference.train()(x_BTC), rtol=1e-5, atol=1e-5)


def test_heads_of_another_width_without_qkv_biases():
    block = ViTBlock(24, 2, 2.0, head_width=8, qkv_bias=False, mlp=partial(MLP, activation=nn.Tanh), eps=1e-6)
    assert block(torch.randn(2, 3, 24)).shape == (2, 3, 24)
    assert block.attn.qkv.weight.shape == (3 * 2 * 8, 24)
    assert block.attn.qkv.bias is None
    assert block.mlp.fc1.weight.shape == (48, 24)
    assert isinstance(block.mlp.act, nn.Tanh)
    assert block.norm2.eps == 1e-6


def test_heads_must_divide_the_width():
    with pytest.raises(
        UserError, match=r'^SelfAttention: width 24 is not a multiple of 5 heads; change one of them\.$'
    ):
        SelfAttention(24, 5)


def test_a_branch_is_left_out_for_whole_images_in_training_only():
    torch.manual_seed(0)
    block, x_BTC = ViTBlock(8, 2, drop_path=0.25), torch.randn(4000, 2, 8)
    branch = block.attn(block.norm1(x_BTC))
    kept = block.keep(branch)
    dropped = (kept == 0).all((1, 2))
    assert 0.2 < dropped.float().mean() < 0.3
    torch.testing.assert_close(kept[~dropped], branch[~dropped] / 0.75)
    assert torch.equal(block.eval().keep(branch), branch)
