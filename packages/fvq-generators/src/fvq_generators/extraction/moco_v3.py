"""MoCo v3's vision transformers with their projection heads (Chen et al., 2021, "An empirical study of training self-supervised
vision transformers"; released code), whose 256 channels RCG draws."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.files.hash import file_sha256
from fvq_core.interop.key_map import Rules, rename
from fvq_core.losses.perceptual import FrozenNetwork, MissingWeightsError
from fvq_core.losses.perceptual.vit_features import build
from fvq_core.losses.perceptual.weights import load_tensors
from fvq_core.saving.weights import load_weights

# timm's network of the same sizes, and where MoCo's differs: its small one has twelve heads.
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    'moco_v3_vit_small': ('vit_small_patch16_224', dict(num_heads=12)),
    'moco_v3_vit_base': ('vit_base_patch16_224', {}),
    'moco_v3_vit_large': ('vit_large_patch16_224', {}),
}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels in [0, 1], as it was trained
ENCODER = r'(?:module\.)?base_encoder\.'
# RCG's ViT-L was saved with some numbers in its names replaced: blocks.13.norm13, .mlp.fc13, blocks.14.norm14, .mlp.fc14.
RULES: Rules = (
    (ENCODER + r'(blocks\.13\..*(?:norm|fc))13(\..*)', r'\g<1>1\2'),
    (ENCODER + r'(blocks\.14\..*(?:norm|fc))14(\..*)', r'\g<1>2\2'),
    (ENCODER + r'(.*)', r'\1'),
)
NOT_ENCODER = (r'(?:module\.)?(momentum_encoder|predictor)\..*',)


def projection(dim: int, hidden: int, channels: int) -> nn.Sequential:
    """MoCo v3's head, (B, dim) to (B, channels): three layers without biases, the last BatchNorm without gain and bias."""
    return nn.Sequential(
        nn.Linear(dim, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, channels, bias=False),
        nn.BatchNorm1d(channels, affine=False),
    )


class MoCoV3(FrozenNetwork):
    """Images (B, 3, 224, 224) in [-1, 1] to what the projection head says of them, (B, channels).

    Args:
        model: A key of `NETWORKS`.
        weights: The released checkpoint (`vit-b-300ep.pth.tar`, or RCG's ViT-L), of which only tensors are read.
        random: Random weights from a fixed seed instead, for rehearsals.
        options: More arguments of `timm.create_model`.
        hidden: Channels within the head.
        channels: Channels of the projection.

    Raises:
        UserError: An unknown network, or weights of another layout or size.
        MissingWeightsError: No weights.
    """

    def __init__(
        self,
        model: str,
        weights: str | Path | None = None,
        random: bool = False,
        options: Mapping[str, Any] | None = None,
        hidden: int = 4096,
        channels: int = 256,
    ) -> None:
        super().__init__()
        name, own = NETWORKS[model]
        self.net: Any = build(name, torch.device('cpu'), False, {**own, **(options or {})})
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            self.net.head = projection(self.net.embed_dim, hidden, channels)
        self.out_channels, self.image_size = channels, int(self.net.patch_embed.img_size[0])
        self.provenance = f'{model}, {"random weights, seed 0: not trained" if random else self.fill(model, weights)}'
        for key, values in (('mean', MEAN), ('std', STD)):
            self.register_buffer(f'{key}_1C11', torch.tensor(values).view(1, 3, 1, 1))
        self.requires_grad_(False).eval()

    def fill(self, model: str, weights: str | Path | None) -> str:
        """Load a checkpoint, and say which."""
        path = None if weights is None else Path(weights).expanduser()
        if path is None or not path.is_file():
            raise MissingWeightsError(
                f"{model}: {path or 'no weights'}; give the file of MoCo v3's released checkpoint."
            )
        state = load_tensors(path)
        if not any('base_encoder.' in key for key in state):
            raise UserError(
                f'{path} is no checkpoint of MoCo v3: none of its keys starts with module.base_encoder, the first is '
                f'{next(iter(state))}; take the pre-trained one, not that of a linear classifier.'
            )
        load_weights(self.net, rename(state, RULES, str(path), NOT_ENCODER), str(path))
        return f'{path.name}, sha256 {file_sha256(path)[:8]}'

    def train(self, mode: bool = True) -> MoCoV3:
        """Stays in eval mode."""
        return super().train(False)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        net, mean, std = self.network(), self.get_buffer('mean_1C11'), self.get_buffer('std_1C11')
        tokens_BTD = net.forward_features(((images_BCHW + 1) / 2 - mean) / std)
        return net.head(tokens_BTD[:, 0])
