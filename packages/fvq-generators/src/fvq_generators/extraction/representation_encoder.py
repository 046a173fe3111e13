"""A frozen network as what `extract_codes` stores the latents of: one vector an image, its representation."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from fvq_core.autoencoder import Autoencoder
from fvq_core.codes import LatentLayout
from fvq_core.codes import Sequence as CodeSequence
from fvq_core.errors import UserError
from fvq_core.images import check_images
from fvq_core.losses.perceptual import ViTFeatures

from .moco_v3 import NETWORKS, MoCoV3


class RepresentationEncoder(Autoencoder):
    """Images to a latent of one position, which nothing decodes; RCG's representations (Li et al., 2024, section 3.1).

    Of MoCo v3 it is the projection. Of another network it is what timm's classifier would see of the normalised last block: the
    class token, or the mean of the patches if there is none. Vectors are as the network gives them: the generators
    standardize. Images are resized to the network's side by torch's bicubic interpolation without antialiasing, as RCG does.

    Args:
        network: `moco_v3_vit_base`, `moco_v3_vit_large`, `moco_v3_vit_small`, or a vision transformer by timm's name.
        weights: File of its weights; see `MoCoV3` and `ViTFeatures`.
        random: Random weights instead, for rehearsals.
        options: More arguments of `timm.create_model`.

    Raises:
        UserError: What these two raise, or timm is not installed.
    """

    def __init__(
        self,
        network: str,
        weights: str | Path | None = None,
        random: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if random and weights is not None:
            raise UserError(f'{network}: random weights contradict those of {weights}; leave one of them out.')
        if find_spec('timm') is None:
            raise UserError("representations need timm; install it with pip install 'timm>=1.0'.")
        kind: Any = MoCoV3 if network in NETWORKS else ViTFeatures
        self.net: Any = kind(network, weights=weights, random=random, options=options)
        self.component_config = dict(type=type(self).__name__, network=network)  # with the weights, its fingerprint
        self.latent_channels, self.side = self.net.out_channels, self.net.image_size

    def latent_layout(self, height: int, width: int) -> LatentLayout:
        return LatentLayout(CodeSequence(1), self.latent_channels, 1.0, 0.0)

    def encode_latent(self, images_BCHW: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] to (B, C, 1)."""
        check_images(type(self).__name__, images_BCHW, 3, next(self.parameters()).device)
        if images_BCHW.shape[-2:] != (self.side, self.side):
            images_BCHW = F.interpolate(images_BCHW, (self.side, self.side), mode='bicubic')
        if isinstance(self.net, MoCoV3):
            return self.net(images_BCHW)[..., None]
        tokens_BTC = self.net.network().norm(self.net.tokens(images_BCHW)[-1])
        prefix = self.net.net.num_prefix_tokens
        whole = tokens_BTC[:, 0] if self.net.net.has_class_token else tokens_BTC[:, prefix:].mean(1)
        return whole[..., None]
