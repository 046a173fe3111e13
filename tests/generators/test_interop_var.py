"""Released files of VAR's transformer: keys, sizes read off shapes, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from fvq.commands import convert
from fvq_core.errors import UserError
from fvq_core.registry import GENERATORS
from fvq_generators import VAR
from fvq_generators.image_generator import ImageGenerator
from tests.tiny import build_from_peer

SCALES = (1, 2, 3)
KEYS = (
    (r'condition\.table\.', 'class_emb.'),
    (r'code_embedding\.', 'word_embed.'),
    (r'start$', 'pos_start'),
    (r'position_embedding$', 'pos_1LC'),
    (r'level_embedding$', 'lvl_embed.weight'),
    (r'shared_modulation\.linear\.', 'shared_ada_lin.1.'),
    (r'(blocks\.\d+\.)modulation\.linear\.', r'\1ada_lin.1.'),
    (r'(blocks\.\d+\.)modulation\.offset_PD', r'\1ada_gss'),
    (r'(blocks\.\d+\.)attention\.qkv\.', r'\1attn.mat_qkv.'),
    (r'(blocks\.\d+\.)attention\.out\.', r'\1attn.proj.'),
    (r'(blocks\.\d+\.)attention\.log_scale_H', r'\1attn.scale_mul_1H11'),
    (r'(blocks\.\d+\.)attention\.', r'\1attn.'),
    (r'ffn\.inner\.', 'ffn.fc1.'),
    (r'ffn\.outer\.', 'ffn.fc2.'),
    (r'norm\.modulation\.linear\.', 'head_nm.ada_lin.1.'),
)


def their_shape(key: str, value: Tensor) -> Tensor:
    if key.endswith('scale_mul_1H11'):
        return value.view(1, -1, 1, 1)
    return value[None, None] if key.endswith('ada_gss') else value[None] if key in ('pos_start', 'pos_1LC') else value


def released(**changes: Any) -> tuple[VAR, dict[str, Tensor]]:
    """A small model, and the state dict that the peer would save of it."""
    layout = dict(type='Pyramid', scales=[(side, side) for side in SCALES], codebook_size=16)
    config = dict(type='VAR', layout=layout, code_dim=8, dim=64, depth=2, heads=2, num_classes=5, **changes)
    generator = cast(VAR, GENERATORS.build(config))
    state: dict[str, Tensor] = {}
    for key, value in generator.state_dict().items():
        for ours, theirs in KEYS:
            if re.match(ours, key) or re.search(rf'(?<=\.){ours}', key):
                key = re.sub(ours, theirs, key)
                break
        state[key] = their_shape(key, value)
    levels = torch.arange(3).repeat_interleave(torch.tensor([side**2 for side in SCALES]))
    state |= {f'blocks.{number}.attn.zero_k_bias': torch.zeros(64) for number in range(2)}
    state |= {'lvl_1L': levels[None], 'attn_bias_for_masking': torch.full((1, 1, 14, 14), -torch.inf)}
    return generator, state


@pytest.mark.parametrize('changes', [{}, dict(shared_modulation=True), dict(mlp_ratio=2.0)])
def test_sizes_are_read_off_shapes_and_every_weight_arrives(changes: dict[str, Any]):
    generator, state = released(**changes)
    imported = build_from_peer('var-transformer', state)
    assert imported.component_config == {**generator.component_config, **imported.component_config}
    assert imported.layout == generator.layout
    for key, value in generator.state_dict().items():
        assert torch.equal(imported.state_dict()[key], value), key


def test_a_file_without_the_scales_buffer_needs_them_and_one_without_temperatures_has_heads_of_64():
    generator, state = released(cosine=False)
    del state['lvl_1L']
    with pytest.raises(UserError, match=r'has 3 scales of 14 positions in all, which \[1, 2, 3, 4, 5, .*--scales'):
        build_from_peer('var-transformer', state)
    imported = build_from_peer('var-transformer', state, scales=[1, 2, 3])
    assert (imported.heads, imported.layout) == (1, generator.layout)
    assert build_from_peer('var-transformer', state, scales=[1, 2, 3], heads=2).heads == 2


def test_other_files_are_refused():
    _, state = released()
    with pytest.raises(UserError, match='unknown key head2'):
        build_from_peer('var-transformer', {**state, 'head2': state['head.weight']})
    with pytest.raises(UserError, match=r'blocks\.1\.attention\.out\.bias'):
        build_from_peer('var-transformer', {key: state[key] for key in state if key != 'blocks.1.attn.proj.bias'})
    with pytest.raises(UserError, match='the file has 2 heads, got 4'):
        build_from_peer('var-transformer', state, heads=4)
    with pytest.raises(UserError, match=r'blocks\.0\.attn\.zero_k_bias is not zero'):
        build_from_peer('var-transformer', {**state, 'blocks.0.attn.zero_k_bias': torch.ones(64)})
    with pytest.raises(UserError, match='not a generator in the layout of VAR'):
        build_from_peer('var-transformer', {'weight': torch.zeros(2, 2)})


def test_the_command_reads_what_training_saves_and_keeps_the_published_sampling(tmp_path: Path, capsys: Any):
    _, state = released()
    torch.save({'trainer': {'var_wo_ddp': state, 'vae_local': {'x': torch.zeros(3)}}}, tmp_path / 'ckpt.pth')
    assert convert.main(['var-transformer', str(tmp_path / 'ckpt.pth'), str(tmp_path / 'var')]) == 0
    assert 'VAR with 0 M parameters' in capsys.readouterr().out
    model = ImageGenerator.from_pretrained(tmp_path / 'var')
    assert model.sampling == dict(cfg_scale=2.5, cfg_schedule='linear', top_k=900, top_p=0.96)
