"""The released layouts of MaskGIT's forms: the same weights under the peers' keys give the same generator back."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgpack
import pytest
import torch
from torch import Tensor

from fvq.commands import convert
from fvq_core.errors import UserError
from fvq_generators import MaskGIT
from fvq_generators.interop.halton_maskgit import ORDERS
from fvq_generators.pretrained import load_generator
from tests.tiny import build_from_peer

from .masked_cases import FORMS, tiny_masked
from .tiny import GRID

COND = torch.tensor([0, 3, 4])
ATTENTION = r'network\.blocks\.(\d+)\.attention\.'


def flax_state(model: MaskGIT) -> dict[str, Tensor]:
    """The weights under the original's paths: one vocabulary of codes, classes and the mask."""
    own, heads = model.state_dict(), 4
    codes, classes = own['codes.table.weight'], own['condition.table.weight']
    bias = torch.cat([own['head.bias'], torch.randn(len(classes) + 1)])
    found = {'Embed_0/word_embeddings/embedding': torch.cat([codes[:-1], classes, codes[-1:]])}
    found |= {'Embed_0/position_embeddings/embedding': own['network.positions'], 'MlmLayer_0/mlm_bias/bias': bias}
    for key, value in own.items():
        part = {'weight': 'kernel', 'bias': 'bias'}.get(key.rpartition('.')[2], '')
        if match := re.fullmatch(ATTENTION + r'(qkv|out)\.\w+', key):
            at = f'TransformerLayer_{match[1]}/Attention_0/self_attention'
            if match[2] == 'out':
                found[f'{at}/out/{part}'] = value.T.unflatten(0, (heads, -1)) if value.dim() > 1 else value
            else:
                for name, one in zip(('query', 'key', 'value'), value.chunk(3), strict=True):
                    found[f'{at}/{name}/{part}'] = (one.T if one.dim() > 1 else one).unflatten(-1, (heads, -1))
        for ours, theirs in (
            (r'network\.blocks\.(\d+)\.attention_norm', r'TransformerLayer_\1/Attention_0/attention_output_ln'),
            (r'network\.blocks\.(\d+)\.ffn\.inner', r'TransformerLayer_\1/Mlp_0/intermediate_output'),
            (r'network\.blocks\.(\d+)\.ffn\.outer', r'TransformerLayer_\1/Mlp_0/layer_output'),
            (r'network\.blocks\.(\d+)\.ffn_norm', r'TransformerLayer_\1/Mlp_0/layer_output_ln'),
            (r'network\.norm', 'Embed_0/embeddings_ln'),
            (r'network\.transform', 'MlmLayer_0/mlm_dense'),
            (r'network\.transform_norm', 'MlmLayer_0/mlm_ln'),
        ):
            layer = key.rpartition('.')[0]
            if re.fullmatch(ours, layer):
                name = part if not theirs.endswith('_ln') or part == 'bias' else 'scale'
                found[f'{re.sub(ours, theirs, layer)}/{name}'] = (
                    value.T if part == 'kernel' and value.dim() > 1 else value
                )
    return {f'params/{key}': value for key, value in found.items()}


def bert_state(model: MaskGIT) -> dict[str, Tensor]:
    """The weights under TiTok's ImageBert's keys."""
    own, types_TD = model.state_dict(), torch.randn(2, 32)
    words = torch.cat([own['codes.table.weight'], own['condition.table.weight']])
    found = {
        'embeddings.word_embeddings.weight': words,
        'embeddings.position_embeddings.weight': own['network.positions'] - types_TD[0],
        'embeddings.token_type_embeddings.weight': types_TD,
        'embeddings.position_ids': torch.arange(8)[None],
    }
    for key, value in own.items():
        key = re.sub(r'^network\.blocks\.', 'encoder.layer.', key).replace('network.norm', 'embeddings.LayerNorm')
        key = key.replace('attention.out.', 'attention.output.dense.').replace('head.', 'lm_head.')
        key = key.replace('attention_norm.', 'attention.output.LayerNorm.').replace('ffn_norm.', 'output.LayerNorm.')
        key = key.replace('ffn.inner', 'intermediate.dense').replace('ffn.outer', 'output.dense')
        if 'attention.qkv' in key:
            for name, one in zip(('query', 'key', 'value'), value.chunk(3), strict=True):
                found[key.replace('attention.qkv', f'attention.self.{name}')] = one
        elif not key.startswith(('codes', 'condition', 'network')):
            found[key] = value
    return {f'model.{key}': value for key, value in found.items()}


def uvit_state(model: MaskGIT) -> dict[str, Tensor]:
    """The weights under TiTok's UViT's keys: one block in, one in the middle, one out."""
    own = model.state_dict()
    words = torch.cat([own['codes.table.weight'], own['condition.table.weight']])
    found = {'embeddings.weight': words, 'pos_embed': own['network.positions'][None]}
    for key, value in own.items():
        for at, name in enumerate(('in_blocks.0', 'mid_block', 'out_blocks.0')):
            key = key.replace(f'network.blocks.{at}.', f'{name}.')
        key = key.replace('attention_norm', 'norm1').replace('ffn_norm', 'norm2').replace('.skip.', '.skip_linear.')
        key = (
            key.replace('attention.qkv', 'attn.qkv').replace('attention.out', 'attn.proj').replace('head.', 'lm_head.')
        )
        key = key.replace('ffn.inner', 'mlp.fc1').replace('ffn.outer', 'mlp.fc2').replace('network.norm', 'norm')
        if not key.startswith(('codes', 'condition', 'network')):
            found[key] = value
    return found


def halton_state(model: MaskGIT) -> dict[str, Tensor]:
    """The weights under Halton-MaskGIT's keys, as a compiled and distributed run saves them."""
    own = model.state_dict()
    found = {
        'tok_emb.weight': own['codes.table.weight'],
        'head.weight': own['codes.table.weight'],
        'head.bias': own['head.bias'],
        'cls_emb.weight': own['condition.table.weight'],
        'pos_emb.weight': own['network.positions'],
        'last_norm.norm_final.weight': own['network.norm.norm.weight'],
        'last_norm.norm_final.bias': own['network.norm.norm.bias'],
    }
    if 'network.registers' in own:
        found['reg_tokens.weight'] = own['network.registers']
    for key, value in own.items():
        key = key.replace('network.norm.modulation.linear', 'last_norm.mlp.1')
        key = key.replace('network.blocks.', 'transformer.layers.').replace('modulation.linear', 'mlp.1')
        key = key.replace('attention_norm', 'ln1').replace('ffn_norm', 'ln2')
        if '.merge_' in key:
            found[f'{key.split("_")[1][:-7]}_proj.weight'] = value.reshape(
                len(value), 32, *((2, 2) if 'merge_in' in key else (1, 1))
            )
        elif '.mlp.1.' in key:
            order = ORDERS[2 if key.startswith('last_norm') else 6]
            chunks = dict(zip(order, value.chunk(len(order)), strict=True))
            found[key] = torch.cat([chunks[number] for number in range(len(order))])
        elif 'qkv' in key:
            for name, one in zip('qkv', value.chunk(3), strict=True):
                found[key.replace('attention.qkv', f'attn.w{name}')] = one
        elif 'gate_up' in key:
            for name, one in zip('13', value.chunk(2), strict=True):
                found[key.replace('ffn.gate_up', f'ff.w{name}')] = one
        elif key.startswith('transformer'):
            found[key.replace('attention.out', 'attn.wo').replace('ffn.out', 'ff.w2')] = value
    return {f'module._orig_mod.{key}': value for key, value in found.items()}


CASES: dict[str, tuple[str, Any, dict[str, Any], dict[str, Any]]] = {
    'original': ('maskgit', flax_state, dict(num_classes=5, grid=(3, 4)), dict(cond_dropout=0.0)),
    'titok': ('titok-maskgit', bert_state, dict(heads=4), {}),
    'uvit': ('titok-maskgit', uvit_state, dict(heads=4), dict(unmasked_weight=0.1)),
    'halton': ('halton-maskgit', halton_state, dict(heads=4, grid=(3, 4)), {}),
    'without registers': (
        'halton-maskgit',
        halton_state,
        dict(heads=4, grid=(3, 4)),
        dict(network={**FORMS['halton']['network'], 'registers': 0}),
    ),
    'codes that are merged': (
        'halton-maskgit',
        halton_state,
        dict(heads=4, grid=(2, 6)),
        dict(layout={**GRID, 'height': 2, 'width': 6}, network={**FORMS['halton']['network'], 'merge': True}),
    ),
    'heads that do not divide': (
        'halton-maskgit',
        halton_state,
        dict(heads=5, grid=(3, 4)),
        dict(network={**FORMS['halton']['network'], 'heads': 5}),
    ),
}


@pytest.mark.parametrize('name', CASES)
def test_the_same_generator_comes_back(name: str):
    peer, state, options, changes = CASES[name]
    ours = tiny_masked(name if name in FORMS else 'halton', **changes)
    theirs = build_from_peer(peer, state(ours), **options)
    codes = torch.randint(33, (3, ours.layout.length))
    with torch.no_grad():
        torch.testing.assert_close(theirs.logits(codes, COND), ours.logits(codes, COND))
    for attribute in ('layout', 'mask_schedule', 'mask_each', 'unmasked_weight', 'label_smoothing'):
        assert getattr(theirs, attribute) == getattr(ours, attribute)
    assert theirs.condition.drop_rate == ours.condition.drop_rate
    assert not theirs.training


def test_the_command_reads_a_flax_file(tmp_path: Path):
    ours = tiny_masked('original', cond_dropout=0.0, num_classes=1000)
    tree: dict[str, Any] = {}
    for key, value in flax_state(ours).items():
        *path, last = key.split('/')
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        array = value.contiguous().numpy()
        node[last] = msgpack.ExtType(1, msgpack.packb((array.shape, array.dtype.name, array.tobytes())))
    (tmp_path / 'checkpoint').write_bytes(msgpack.packb(tree))
    call = ['maskgit', str(tmp_path / 'checkpoint'), str(tmp_path / 'out')]
    assert convert.main([*call, '--grid', '3', '4']) == 0
    found, _ = load_generator(tmp_path / 'out')
    assert torch.equal(found.sample(COND, seeds=[1, 2, 3]).indices_BL, ours.sample(COND, seeds=[1, 2, 3]).indices_BL)


def test_the_command_saves_how_the_release_samples(tmp_path: Path):
    for name, wanted in (
        ('titok', dict(choice='logit', temperature=1.3, final_temperature=0.5)),
        ('halton', dict(order='halton', steps=32, cfg_scale=1.7)),
    ):
        peer, state, options, _ = CASES[name]
        torch.save(state(tiny_masked(name)), tmp_path / 'file.pth')
        heads = [
            str(text) for key, value in options.items() for text in (f'--{key}', *(value if key == 'grid' else [value]))
        ]
        assert convert.main([peer, str(tmp_path / 'file.pth'), str(tmp_path / name), *heads]) == 0
        assert json.loads((tmp_path / name / 'config.json').read_text())['sampling'] == wanted


@pytest.mark.parametrize(
    ('name', 'change', 'options', 'message'),
    [
        ('original', {}, dict(num_classes=40), '38 words with 40 classes and 12 positions'),
        ('original', {}, dict(grid=(4, 4)), 'on a grid 4 x 4 do not fit'),
        ('original', {'params/MlmLayer_0/extra/kernel': torch.ones(1, 1)}, {}, 'unknown key MlmLayer_0/extra/kernel'),
        ('titok', {'model.pooler.dense.weight': torch.ones(1)}, {}, r'unknown key pooler\.dense\.weight'),
        ('titok', {}, dict(heads=5), 'no file says how many heads 32 channels have; got 5'),
        ('halton', {'txt_proj.weight': torch.ones(1)}, {}, r'unknown key txt_proj\.weight'),
        ('halton', {}, dict(heads=None), 'none of the published sizes has so many'),
        ('halton', {}, dict(grid=(4, 4)), '12 positions are no grid 4 x 4'),
    ],
)
def test_files_that_do_not_fit_are_refused_in_one_line(
    name: str, change: dict[str, Tensor], options: dict[str, Any], message: str
):
    peer, state, given, changes = CASES[name]
    with pytest.raises(UserError, match=message):
        build_from_peer(peer, state(tiny_masked(name, **changes)) | change, **{**given, **options})


@pytest.mark.parametrize('peer', ['maskgit', 'titok-maskgit', 'halton-maskgit'])
def test_another_model_is_refused(peer: str):
    with pytest.raises(UserError, match=r'not (MaskGIT|a generator|a transformer)'):
        build_from_peer(peer, {'encoder.weight': torch.ones(1)})
