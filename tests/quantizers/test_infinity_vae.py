"""Infinity's tokenizer: released names and computation, written out again, give the codes and pixels of the imported one."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fvq.commands import convert
from fvq_core.codes import Grid
from fvq_core.errors import UserError
from fvq_core.registry import TOKENIZERS
from fvq_core.tokenizer import Tokenizer
from fvq_core.zoo import check_described, model_config
from fvq_generators.interop import infinity
from fvq_quantizers.interop import infinity_vae
from tests.tiny import build_from_peer

from ..tiny import random_images
from .test_interop import VECTOR, taming_state, tokenizer

SCALES = [1, 2, 4]


class Released:
    """The released network as functions of a state dict, whose tensors are drawn at their first use."""

    def __init__(self, ch: int = 32, levels: tuple[int, ...] = (1, 2), blocks: int = 1, bits: int = 6) -> None:
        self.ch, self.levels, self.blocks, self.bits = ch, levels, blocks, bits
        place_values = 2 ** torch.arange(bits - 1, -1, -1)
        self.state: dict[str, Tensor] = {'quantizer.lfq.mask': place_values, 'quantize.lfq.mask': place_values}

    def weight(self, name: str, *shape: int) -> Tensor:
        if name not in self.state:
            self.state[name] = torch.randn(shape) * (1.0 if len(shape) == 1 else shape[1] ** -0.5 / 3)
        return self.state[name]

    def conv(self, x: Tensor, name: str, channels: int, kernel: int = 3, stride: int = 1) -> Tensor:
        weight = self.weight(f'{name}.conv.weight', channels, x.shape[1], kernel, kernel)
        padding = kernel // 2 if stride == 1 else 0
        return F.conv2d(x, weight, self.weight(f'{name}.conv.bias', channels), stride, padding)

    def activated(self, x: Tensor, name: str) -> Tensor:
        scale, shift = (self.weight(f'{name}.norm.{part}', x.shape[1]) for part in ('weight', 'bias'))
        x = F.group_norm(x, 32, scale, shift, eps=1e-6)
        return x * torch.sigmoid(x)

    def block(self, x: Tensor, name: str, channels: int) -> Tensor:
        h = self.conv(self.activated(x, f'{name}.norm1'), f'{name}.conv1', channels)
        h = self.conv(self.activated(h, f'{name}.norm2'), f'{name}.conv2', channels)
        return h + (x if x.shape[1] == channels else self.conv(x, f'{name}.nin_shortcut', channels, kernel=1))

    def encode(self, images: Tensor) -> Tensor:
        h = self.conv(images, 'encoder.conv_in', self.ch)
        for level, multiple in enumerate(self.levels):
            for number in range(self.blocks):
                h = self.block(h, f'encoder.down.{level}.block.{number}', self.ch * multiple)
            if level < len(self.levels) - 1:
                h = self.conv(F.pad(h, (0, 1, 0, 1)), f'encoder.down.{level}.downsample.conv', h.shape[1], stride=2)
        for name in ('block_1', 'block_2'):
            h = self.block(h, f'encoder.mid.{name}', h.shape[1])
        return self.conv(self.activated(h, 'encoder.norm_out'), 'encoder.conv_out', self.bits)

    def quantize(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of codes, and the bits of all scales, channel 0 first; a latent is a video of one frame."""
        residual, total, bits = z[:, :, None], torch.zeros_like(z[:, :, None]), []
        for side in SCALES:
            small = F.interpolate(residual, (1, side, side), mode='area')
            positive = F.normalize(small, dim=1) > 0
            code = torch.where(positive, 1.0, -1.0) / self.bits**0.5
            large = F.interpolate(code, residual.shape[2:], mode='trilinear')
            residual, total = residual - large, total + large
            bits.append(positive.long().flatten(2).transpose(1, 2).flatten(1))
        return total.squeeze(2), torch.cat(bits, 1)

    def decode(self, z: Tensor) -> Tensor:
        h = self.conv(z, 'decoder.conv_in', self.ch * self.levels[-1])
        for name in ('block_1', 'block_2'):
            h = self.block(h, f'decoder.mid.{name}', h.shape[1])
        for level in reversed(range(len(self.levels))):
            for number in range(self.blocks + 1):
                h = self.block(h, f'decoder.up.{level}.block.{number}', self.ch * self.levels[level])
            if level > 0:
                h = F.interpolate(h, scale_factor=2.0, mode='nearest')
                h = self.conv(h, f'decoder.up.{level}.upsample.conv', h.shape[1])
        return self.conv(self.activated(h, 'decoder.norm_out'), 'decoder.conv_out', 3)


Example = tuple[Released, Tensor, Tensor, Tensor]


@pytest.fixture(scope='module')
def example() -> Example:
    """A released tokenizer, images, and the bits and the reconstruction that it gives for them."""
    torch.manual_seed(3)
    peer, images = Released(), random_images(height=8, width=8)
    total, bits_BL = peer.quantize(peer.encode(images))
    return peer, images, bits_BL, peer.decode(total)


@torch.no_grad()
def test_codes_and_pixels_are_those_of_the_release(example: Example):
    peer, images, bits_BL, pixels = example
    imported = build_from_peer('infinity-vae', {'vae': peer.state, 'step': 1}, scales=SCALES)
    out = imported(images)
    assert 0.2 < bits_BL.float().mean() < 0.8
    assert torch.equal(out.codes.indices_BL, bits_BL)
    torch.testing.assert_close(out.reconstruction, pixels, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(imported.decode(out.codes), pixels, rtol=1e-5, atol=1e-5)


def test_the_command_reads_what_training_saves(example: Example, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    peer, images, bits_BL, _ = example
    whole = {key: value for key, value in peer.state.items() if not key.startswith('quantize.')}
    whole |= {'perceptual_model.lin0.model.1.weight': torch.ones(1, 4, 1, 1)}
    file, folder = tmp_path / 'vae.pth', tmp_path / 'vae'
    torch.save({'step': 9, 'vae': whole, 'image_disc': {'main.0.weight': torch.ones(2, 3, 4, 4)}}, file)
    assert convert.main(['infinity-vae', str(file), str(folder), '--scales', '1', '2', '4']) == 0
    assert 'Tokenizer with codes of 6 bits at 3 scales' in capsys.readouterr().out
    assert torch.equal(Tokenizer.from_pretrained(folder).encode(images).indices_BL, bits_BL)


def test_the_scales_are_those_of_the_released_transformers_unless_told(example: Example):
    imported = build_from_peer('infinity-vae', example[0].state)
    assert imported.quantizer.scales == tuple((side, side) for side in infinity.SCALES)
    assert imported.quantizer.layout(Grid(64, 64)).length == 10_521 * 6


def test_the_row_is_the_released_network():
    peer, (_, description) = Released(128, (1, 2, 4, 4, 4), blocks=2, bits=32), model_config('infinity_d32')
    build = functools.partial(TOKENIZERS.build, description)
    with torch.device('meta'):
        peer.decode(peer.encode(torch.zeros(1, 3, 16, 16)))
        config, renamed = infinity_vae.import_tokenizer(peer.state, description['quantizer']['scales'])
        imported = TOKENIZERS.build(config)
        check_described(imported, build, 'infinity_d32')
    assert {key: value.shape for key, value in imported.state_dict().items()} == {
        key: value.shape for key, value in renamed.items()
    }
    assert sum(value.numel() for value in renamed.values()) == 110_118_051


def test_other_files_are_refused(example: Example):
    state = example[0].state
    with pytest.raises(UserError, match=r'not a tokenizer of Infinity: no quantizer\.lfq\.mask'):
        build_from_peer('infinity-vae', taming_state(tokenizer(VECTOR)))
    with pytest.raises(UserError, match=r'its quantizer has quantizer\.project_in\.weight'):
        build_from_peer('infinity-vae', state | {'quantizer.project_in.weight': torch.ones(6, 6)})
    with pytest.raises(UserError, match=r'Infinity: unknown key encoder\.freq\.weight'):
        build_from_peer('infinity-vae', state | {'encoder.freq.weight': torch.ones(6)})
    video = {key: value[:, :, None] if value.dim() == 4 else value for key, value in state.items()}
    with pytest.raises(UserError, match=r'of another shape \(decoder\.conv_in\.weight is \(64, 6, 1, 3, 3\)'):
        build_from_peer('infinity-vae', video, scales=SCALES)
