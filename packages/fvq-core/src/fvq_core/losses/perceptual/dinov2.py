"""DINOv2 ViT-S/14 (Oquab et al., 2024): the features of patches that UniTok's discriminator judges."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...autoencoders.layers.tokens import to_tokens
from ...autoencoders.layers.vit_block import ViTBlock
from ...errors import UserError
from ...files.hash import file_sha256
from ...saving.weights import load_weights
from .frozen_network import FrozenNetwork
from .weights import MissingWeightsError, load_tensors

URL = 'https://dl.fbaipublicfiles.com/dinov2/dinov2_vits14/dinov2_vits14_pretrain.pth'
PATCH, WIDTH, DEPTH, HEADS = 14, 384, 12, 6
SIDE = 37  # of the grid that positions were learned on
SEED = 0  # of random weights


class DINOv2Net(nn.Module):
    """The transformer without its last norm. Its layer scales are part of the maps in front of them."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + SIDE**2, WIDTH))
        self.blocks = nn.ModuleList(ViTBlock(WIDTH, HEADS, eps=1e-6) for _ in range(DEPTH))

    def forward(self, images_BCHW: Tensor, last: int) -> list[Tensor]:
        """(B, 1 + h w, width) behind each block up to `last`, the class token first."""
        patches_BCHW = self.patch_embed(images_BCHW)
        x_BTC = to_tokens(patches_BCHW) + self.positions(*patches_BCHW.shape[-2:])
        x_BTC = torch.cat([(self.cls_token + self.pos_embed[:, :1]).expand(len(x_BTC), -1, -1), x_BTC], 1)
        found = []
        for block in self.blocks[: last + 1]:
            x_BTC = block(x_BTC)
            found.append(x_BTC)
        return found

    def positions(self, height: int, width: int) -> Tensor:
        """Of a grid's patches, (1, h w, width), resized as DINOv2 does, whose scale is larger by a tenth of a patch."""
        if (height, width) == (SIDE, SIDE):
            return self.pos_embed[:, 1:]
        table_1CMM = self.pos_embed[:, 1:].float().mT.unflatten(2, (SIDE, SIDE))
        scale = ((height + 0.1) / SIDE, (width + 0.1) / SIDE)
        return to_tokens(F.interpolate(table_1CMM, scale_factor=scale, mode='bicubic')).to(self.pos_embed.dtype)


class DINOv2Features(FrozenNetwork):
    """Images (B, 3, H, W) in [-1, 1], with sides that 14 divides, to the features of their patches behind some blocks.

    Args:
        depths: Blocks, from 0, behind which features are taken.
        weights: DINOv2's `dinov2_vits14_pretrain.pth`, or its folder; by default it is looked for in torch's hub folder
            (`$TORCH_HOME/hub/checkpoints`). It is never downloaded: its publisher gives no hash to check.
        random: Random weights from a fixed seed instead of trained ones, for tests and timings.

    Raises:
        UserError: Options that contradict each other, depths that it lacks, or weights that do not fit.
        MissingWeightsError: The trained weights are not on this machine. On the meta device none are needed.
    """

    mean_1C11: Tensor
    std_1C11: Tensor

    def __init__(self, depths: Sequence[int], weights: str | Path | None = None, random: bool = False) -> None:
        super().__init__()
        if random and weights is not None:
            raise UserError(f'DINOv2Features: random=True contradicts weights={str(weights)!r}; leave one of them out.')
        if not depths or not all(0 <= depth < DEPTH for depth in depths):
            raise UserError(f'DINOv2Features: depths lie in [0, {DEPTH}), got {list(depths)}.')
        self.depths, self.out_channels, self.patch_size = tuple(depths), WIDTH, PATCH
        device = torch.get_default_device()
        with torch.device('meta'):
            self.net = DINOv2Net()
        self.provenance = 'no weights, on the meta device'
        if device.type != 'meta':
            self.net.to_empty(device='cpu')
            self.provenance = self.fill_random() if random else self.fill_trained(weights)
        self.register_buffer('mean_1C11', torch.tensor([0.485, 0.456, 0.406], device='cpu').view(1, 3, 1, 1))
        self.register_buffer('std_1C11', torch.tensor([0.229, 0.224, 0.225], device='cpu').view(1, 3, 1, 1))
        self.requires_grad_(False).eval().to(device)

    def fill_random(self) -> str:
        rng = torch.Generator().manual_seed(SEED)
        for name, parameter in self.net.named_parameters():
            if 'norm' in name or name.endswith('bias'):
                nn.init.constant_(parameter, float(name.endswith('weight')))
            else:
                nn.init.normal_(parameter, std=0.02, generator=rng)
        return f'random weights, seed {SEED}: not DINOv2'

    def fill_trained(self, weights: str | Path | None) -> str:
        name = URL.rpartition('/')[2]
        path = Path(torch.hub.get_dir(), 'checkpoints') if weights is None else Path(weights).expanduser()
        path = path / name if path.is_dir() or weights is None else path
        if not path.is_file():
            raise MissingWeightsError(
                f'DINOv2Features: {path} does not exist; fetch {URL}, and give its path as `weights`.'
            )
        load_weights(self.net, fold_layer_scales(load_tensors(path)), str(path))
        return f'{path.name}, sha256 {file_sha256(path)[:8]}'

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        """(B, h w, 384) for each of `depths`: each patch plus the class token."""
        images_BCHW = ((images_BCHW + 1) / 2 - self.mean_1C11) / self.std_1C11
        found = self.network()(images_BCHW, max(self.depths))
        return [found[depth][:, 1:] + found[depth][:, :1] for depth in self.depths]

    def extra_repr(self) -> str:
        return self.provenance


def fold_layer_scales(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """DINOv2's state dict in the keys of `DINOv2Net`, each scale multiplied into the map in front of it."""
    found = {key.replace('patch_embed.proj.', 'patch_embed.'): value for key, value in state.items()}
    for key in [key for key in found if key.endswith('.gamma')]:
        scale = found.pop(key)
        block, _, which = key.removesuffix('.gamma').rpartition('.')
        name = f'{block}.{dict(ls1="attn.proj", ls2="mlp.fc2").get(which, which)}'
        for part in ('weight', 'bias'):
            if f'{name}.{part}' not in found:
                raise UserError(f'DINOv2Features: {key} scales no map that is known; is it DINOv2 ViT-S/14?')
            value = found[f'{name}.{part}']
            found[f'{name}.{part}'] = value * (scale[:, None] if value.dim() == 2 else scale)
    return {key: value for key, value in found.items() if key not in ('mask_token', 'norm.weight', 'norm.bias')}
