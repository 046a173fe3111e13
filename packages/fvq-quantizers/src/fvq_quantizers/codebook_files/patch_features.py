"""Features of image patches from a frozen timm model, to make codebooks of (VQGAN-LC)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.errors import UserError, nearest_hint
from fvq_core.saving.hub_errors import FAILURES, brief


class PatchFeatures(nn.Module):
    """The last feature map of an image classifier or image-text encoder, without class and register tokens.

    VQGAN-LC uses CLIP ViT-L/14: `vit_large_patch14_clip_224.openai` with `projected=True, pool=4`.

    Args:
        name: Name of a timm model.
        weights: `'pretrained'` (timm downloads them once), a local file of that model's weights, or `'random'`: weights
            drawn from `seed`, for tests and as a baseline.
        projected: Apply the model's last linear map to each patch; for CLIP, into the space shared with text.
        pool: Side of the squares of patches to average.

    Raises:
        UserError: timm is missing or has no such model; no weights; or a model without patches or without such a map.

    Attributes:
        image_size: Height and width of the images in pixels.
    """

    mean: Tensor
    std: Tensor
    model: Any  # timm's models share more than their types tell

    def __init__(
        self, name: str, weights: str = 'pretrained', projected: bool = False, pool: int = 1, seed: int = 0
    ) -> None:
        super().__init__()
        if pool < 1:
            raise UserError(f'PatchFeatures: pool must be 1 or more, got {pool}.')
        self.model = load_model(name, weights, seed).eval().requires_grad_(False)
        from timm.data import resolve_model_data_config

        data = resolve_model_data_config(self.model)
        self.name, self.pool, self.image_size = name, pool, data['input_size'][-1]
        self.register_buffer('mean', torch.tensor(data['mean']).view(3, 1, 1))
        self.register_buffer('std', torch.tensor(data['std']).view(3, 1, 1))
        head = self.model.get_classifier() if projected else nn.Identity()
        if projected and not isinstance(head, nn.Linear):
            raise UserError(f'PatchFeatures: {name} does not end with a linear map; drop the projection.')
        self.head = cast(nn.Module, head)

    @torch.no_grad()
    def forward(self, images_BCHW: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1], resized to `image_size`, to (B, patches, channels) in reading order."""
        if images_BCHW.shape[-1] != self.image_size:
            side = (self.image_size, self.image_size)
            images_BCHW = F.interpolate(images_BCHW, side, mode='bicubic', antialias=True).clamp(-1, 1)
        maps = self._map(self.model.forward_features(((images_BCHW + 1) / 2 - self.mean) / self.std))
        if min(maps.shape[2:]) < self.pool:
            raise UserError(
                f'PatchFeatures: {self.name} gives {maps.shape[2]}x{maps.shape[3]} patches, fewer than pool={self.pool}.'
            )
        if self.pool > 1:
            maps = F.avg_pool2d(maps, self.pool)
        return self.head(maps.flatten(2).transpose(1, 2))

    def _map(self, features: Tensor) -> Tensor:
        """The model's features as (B, C, h, w)."""
        if features.dim() == 4:
            last = str(getattr(self.model, 'output_fmt', 'NCHW')).endswith('NHWC')
            return features.permute(0, 3, 1, 2) if last else features
        if features.dim() == 3:
            tokens = features[:, getattr(self.model, 'num_prefix_tokens', 0) :]
            side = math.isqrt(tokens.shape[1])
            if side * side == tokens.shape[1]:
                return tokens.transpose(1, 2).unflatten(2, (side, side))
        raise UserError(f'PatchFeatures: {self.name} gives features {tuple(features.shape)}, not a square of patches.')


def load_model(name: str, weights: str, seed: int) -> Any:
    """A timm model with its weights; see `PatchFeatures`."""
    try:
        import timm
    except ImportError as error:
        raise UserError(f'PatchFeatures: image features need timm ({error}); pip install timm.') from error
    if not timm.is_model(name):
        raise UserError(f"PatchFeatures: timm has no model '{name}'; {nearest_hint(name, timm.list_models())}")
    if weights == 'random':
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # `torch.manual_seed` would seed GPUs too
            return timm.create_model(name)
    options: dict[str, Any] = {}
    if weights != 'pretrained':
        if not Path(weights).is_file():
            raise UserError(f"PatchFeatures: the weights {weights} do not exist; 'pretrained' downloads them.")
        options['pretrained_cfg_overlay'] = dict(file=weights)
    try:
        return timm.create_model(name, pretrained=True, **options)
    except (*FAILURES, RuntimeError, KeyError, ValueError) as error:
        raise UserError(
            f"PatchFeatures: no weights for {name} from {weights}: {brief(error)}; pass a file with that model's weights."
        ) from error
