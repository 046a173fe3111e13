"""MaskGIT's encoder and decoder, and the importers of both layouts of its files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgpack
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fvq.commands import convert
from fvq_core.autoencoders import MaskGITDecoder, MaskGITEncoder
from fvq_core.autoencoders.maskgit_vq import MaskGITBlock
from fvq_core.errors import UserError
from fvq_core.registry import TOKENIZERS
from fvq_core.tokenizer import Tokenizer
from fvq_quantizers.interop.flax_file import is_msgpack_map

from ..tiny import build_from_peer, random_images

SMALL: dict[str, Any] = dict(ch=32, ch_mult=(1, 2, 2), num_res_blocks=2, z_channels=6)


def tokenizer(**changes: Any) -> Tokenizer:
    """Every parameter random."""
    sizes = {**SMALL, **changes}
    config = dict(
        type='Tokenizer',
        encoder=dict(type='MaskGITEncoder', **sizes),
        quantizer=dict(type='VectorQuantizer', codebook_size=16, code_dim=6),
        decoder=dict(type='MaskGITDecoder', **sizes),
        quant_kernel=0,
    )
    built: Tokenizer = TOKENIZERS.build(config)
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return built.eval()


def port_state(ours: Tokenizer) -> dict[str, Tensor]:
    """The same in the keys of the PyTorch ports."""
    found, last = {}, len(ours.decoder.levels) - 1
    for key, value in ours.state_dict().items():
        theirs = key.replace('quantizer.embedding', 'quantize.embedding.weight').replace('.shortcut.', '.nin_shortcut.')
        theirs = re.sub(r'^encoder\.levels\.(\d+)\.(\d+)\.', r'encoder.down.\1.block.\2.', theirs)
        theirs = re.sub(
            r'^decoder\.levels\.(\d+)\.\d+\.conv\.', lambda m: f'decoder.up.{last - int(m[1])}.upsample_conv.', theirs
        )
        theirs = re.sub(r'^decoder\.levels\.(\d+)\.', lambda m: f'decoder.up.{last - int(m[1])}.block.', theirs)
        found[theirs] = value
    return found


def flax_state(ours: Tokenizer) -> dict[str, Tensor]:
    """The same as flax numbers modules: in the order in which they are called."""
    names = dict(norm1='GroupNorm_0', conv1='Conv_0', norm2='GroupNorm_1', conv2='Conv_1', shortcut='Conv_2')
    found = {'quantizer/codebook': ours.quantizer.embedding.detach()}

    def add(path: str, module: torch.nn.Module) -> None:
        for name, value in module.named_parameters():
            kernel = value.permute(2, 3, 1, 0) if value.dim() == 4 else value
            suffix = 'kernel' if value.dim() == 4 else 'scale' if name == 'weight' else 'bias'
            found[f'{path}/{suffix}'] = kernel.detach()

    for half, network in (('encoder', ours.encoder), ('decoder', ours.decoder)):
        stages = [*network.levels, network.mid] if half == 'encoder' else [network.mid, *network.levels]
        parts = [part for stage in stages for part in stage]
        blocks = [part for part in parts if isinstance(part, MaskGITBlock)]
        for number, block in enumerate(blocks):
            for name in names:
                add(f'{half}/ResBlock_{number}/{names[name]}', getattr(block, name))
        convs = [network.conv_in, *(part.conv for part in parts if hasattr(part, 'conv')), network.conv_out]
        for number, conv in enumerate(convs):
            add(f'{half}/Conv_{number}', conv)
        add(f'{half}/GroupNorm_0', network.norm_out)
    return {f'params/{key}': value for key, value in found.items()}


def test_published_sizes():
    with torch.device('meta'):
        sizes = [sum(p.numel() for p in half().parameters()) / 1e6 for half in (MaskGITEncoder, MaskGITDecoder)]
    assert sizes == pytest.approx([23.8, 30.5], abs=0.05)


def test_where_the_width_changes_the_block_has_no_path_around_it():
    block, x = MaskGITBlock(8, 16, norm_groups=4), torch.randn(2, 8, 6, 4)
    h = F.conv2d(F.silu(F.group_norm(x, 4, block.norm1.weight, block.norm1.bias, 1e-6)), block.conv1.weight, padding=1)
    h = F.conv2d(F.silu(F.group_norm(h, 4, block.norm2.weight, block.norm2.bias, 1e-6)), block.conv2.weight, padding=1)
    torch.testing.assert_close(block(x), h + F.conv2d(h, block.shortcut.weight))
    assert isinstance(MaskGITBlock(8, 8, norm_groups=4).shortcut, torch.nn.Identity)


@torch.no_grad()
def test_the_network_sees_pixels_from_zero_to_one():
    ours = tokenizer()
    features = ours.encoder(torch.full((1, 3, 8, 8), -1.0))  # black
    ours.encoder.conv_in.weight.zero_()
    assert torch.equal(features, ours.encoder(random_images(height=8, width=8)[:1]))
    ours.decoder.conv_out.weight.zero_()
    ours.decoder.conv_out.bias.fill_(1.0)  # white
    assert ours.decoder(torch.randn(1, 6, 2, 2)).unique().tolist() == [1.0]


def test_checkpointing_changes_no_gradient():
    ours, images = tokenizer(), random_images(height=16, width=8)
    found = []
    for checkpointing in (False, True):
        ours.encoder.checkpointing = ours.decoder.checkpointing = checkpointing
        ours.zero_grad()
        ours.decode_latent(ours.encode_latent(images)).square().sum().backward()
        found.append({name: p.grad for name, p in ours.named_parameters() if p.grad is not None})
    assert len(found[0]) > 50
    torch.testing.assert_close(*found)


@pytest.mark.parametrize(
    'sizes', [{}, dict(ch_mult=(1, 1, 2, 4), num_res_blocks=1), dict(ch_mult=(2,), num_res_blocks=3)]
)
@pytest.mark.parametrize('layout', [port_state, flax_state])
@torch.no_grad()
def test_both_layouts_are_imported(layout: Any, sizes: dict[str, Any]):
    ours, images = tokenizer(**sizes), random_images(height=16, width=24)
    found = build_from_peer('maskgit-vq', layout(ours))
    assert not found.training
    assert torch.equal(found.encode_latent(images), ours.encode_latent(images))
    codes = ours.encode(images)
    assert torch.equal(found.encode(images).indices_BL, codes.indices_BL)
    assert torch.equal(found.decode(codes), ours.decode(codes))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda state: state.pop('quantize.embedding.weight'), "not MaskGIT's tokenizer: no encoder.conv_in.weight or"),
        (lambda state: state.update({'encoder.attn.q': torch.zeros(1)}), 'MaskGIT: unknown key encoder.attn.q'),
    ],
)
def test_other_files_are_refused(change: Any, message: str):
    state = port_state(tokenizer())
    change(state)
    with pytest.raises(UserError, match=message):
        build_from_peer('maskgit-vq', state)


def test_other_parameters_of_flax_are_refused():
    state = flax_state(tokenizer())
    with pytest.raises(UserError, match=r'unknown parameter encoder/Dense_0/kernel'):
        build_from_peer('maskgit-vq', state | {'params/encoder/Dense_0/kernel': torch.zeros(1)})
    del state['params/quantizer/codebook']
    with pytest.raises(UserError, match='no quantizer/codebook'):
        build_from_peer('maskgit-vq', state)


def flax_bytes(state: dict[str, Tensor]) -> bytes:
    """As `flax.serialization.to_bytes` writes a tree of arrays."""
    tree: dict[str, Any] = {}
    for key, value in state.items():
        *path, last = key.split('/')
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        array = value.contiguous().numpy()
        node[last] = msgpack.ExtType(1, msgpack.packb((array.shape, array.dtype.name, array.tobytes())))
    return msgpack.packb(tree)


@torch.no_grad()
def test_a_flax_file_becomes_a_folder(tmp_path: Path):
    ours, images = tokenizer(), random_images(height=8, width=8)
    (tmp_path / 'tokenizer_checkpoint').write_bytes(flax_bytes(flax_state(ours)))
    assert convert.main(['maskgit-vq', str(tmp_path / 'tokenizer_checkpoint'), str(tmp_path / 'out')]) == 0
    found = Tokenizer.from_pretrained(tmp_path / 'out')
    assert torch.equal(found(images).reconstruction, ours(images).reconstruction)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (flax_bytes({'params/x': torch.zeros(3)})[:-4], 'not the parameters of a flax model'),
        (msgpack.packb({'params': msgpack.ExtType(9, b'')}), 'an extension of type 9'),
        (msgpack.packb({'a': msgpack.ExtType(1, msgpack.packb(([2**40], 'float32', b'')))}), '0 bytes for an array'),
        (msgpack.packb({'a': msgpack.ExtType(1, msgpack.packb(([1], 'object', b'12345678')))}), 'of object'),
        (msgpack.packb({'a': {1: 2}}), 'flax model'),
        (msgpack.packb({'a': [1]}), 'a list'),
        (msgpack.packb({'a': msgpack.ExtType(1, b'\xc1')}), 'not the parameters of a flax model'),
    ],
)
def test_broken_and_hostile_flax_files_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, message: str
):
    (tmp_path / 'file').write_bytes(content)
    assert convert.main(['maskgit-vq', str(tmp_path / 'file'), str(tmp_path / 'out')]) != 0
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_a_pickle_is_not_taken_for_a_flax_file(tmp_path: Path):
    for protocol in (2, 4):
        torch.save(
            port_state(tokenizer()), tmp_path / 'file', _use_new_zipfile_serialization=False, pickle_protocol=protocol
        )
        assert not is_msgpack_map(tmp_path / 'file')
