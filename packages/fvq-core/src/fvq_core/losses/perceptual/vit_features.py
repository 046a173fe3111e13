"""Features of a frozen vision transformer of timm: DINO, DINOv2, CLIP, SigLIP or any other, by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import UserError, nearest_hint
from ...files.hash import file_sha256
from ...saving.weights import load_weights
from .frozen_network import FrozenNetwork
from .weights import MissingWeightsError, load_tensors

SEED = 0  # of random weights
# Options that make a transformer of any name small, for smoke runs with random weights.
SMALL = dict(embed_dim=32, depth=2, num_heads=2)
NOT_FEATURES = ('head.', 'attn_pool.', 'fc_norm.')  # what files hold behind the last norm


class ViTFeatures(FrozenNetwork):
    """Images (B, 3, H, W) in [-1, 1], with sides that the patches divide, to the features of their patches.

    Images are normalised as the network was trained; positions are resized to the grid of their patches.

    Args:
        model: timm's name, such as `vit_small_patch16_224.dino`, `vit_base_patch14_dinov2.lvd142m`,
            `vit_base_patch16_clip_224.openai` or `vit_base_patch16_siglip_256.webli`.
        depths: Blocks, from 0, behind which features are taken; -1 is in front of the first. By
            default the last.
        weights: File of the network's weights in the layout of timm or of its publisher, of which only tensors are read;
            `'pretrained'` takes timm's own, from its cache or downloaded. Nothing is downloaded otherwise.
        random: Random weights from a fixed seed instead of trained ones, for tests and timings.
        options: More arguments of `timm.create_model`.

    Attributes:
        name: `model` without what follows its dot, and without what tells the size of images: which network it is.

    Raises:
        UserError: An unknown network or one that is no plain vision transformer, options that contradict each other, depths
            that it lacks, or weights that do not fit.
        MissingWeightsError: No weights. On the meta device none are needed.
    """

    mean_1C11: Tensor
    std_1C11: Tensor

    def __init__(
        self,
        model: str,
        depths: Sequence[int] | None = None,
        weights: str | Path | None = None,
        random: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if random and weights is not None:
            raise UserError(f'ViTFeatures: random=True contradicts weights={str(weights)!r}; leave one of them out.')
        device = torch.get_default_device()
        loads = device.type != 'meta' and not random
        if loads and weights is None:
            raise MissingWeightsError(
                f"ViTFeatures: give the file of {model}'s weights as `weights`; 'pretrained' lets timm download them."
            )
        self.net: Any = build(model, device, loads and weights == 'pretrained', options or {})
        count = len(self.net.blocks)
        depths = (count - 1,) if depths is None else depths
        if not depths or not all(-1 <= depth < count for depth in depths):
            raise UserError(f'ViTFeatures: depths of {model} lie in [-1, {count}), got {list(depths)}.')
        self.name, self.depths = network_name(model), tuple(depths)
        self.out_channels, self.patch_size = self.net.embed_dim, self.net.patch_embed.patch_size[0]
        self.image_size: int = self.net.patch_embed.img_size[0]
        self.provenance = f'{model}, no weights, on the meta device'
        if device.type != 'meta':
            self.provenance = f'{model}, {self.fill_random() if random else self.fill_trained(weights)}'
        for key in ('mean', 'std'):
            values = torch.tensor(self.net.pretrained_cfg[key], device='cpu').view(1, 3, 1, 1)
            self.register_buffer(f'{key}_1C11', values)
        self.requires_grad_(False).eval().to(device)

    def fill_random(self) -> str:
        with torch.no_grad():
            for name, parameter in self.net.named_parameters():
                if name.endswith('gamma'):
                    parameter.fill_(1.0)  # at their start, nothing would come of the blocks
        return f'random weights, seed {SEED}: not trained'

    def fill_trained(self, weights: str | Path | None) -> str:
        if weights == 'pretrained':
            return "timm's weights"
        path = Path(str(weights)).expanduser()
        if not path.is_file():
            raise MissingWeightsError(f'ViTFeatures: {path} does not exist; give the file of the weights.')
        from timm.models.vision_transformer import checkpoint_filter_fn

        state = checkpoint_filter_fn(load_tensors(path), self.net)
        load_weights(self.net, {k: v for k, v in state.items() if not k.startswith(NOT_FEATURES)}, str(path))
        return f'{path.name}, sha256 {file_sha256(path)[:8]}'

    def train(self, mode: bool = True) -> ViTFeatures:
        """Stays in eval mode."""
        return super().train(False)

    def tokens(self, images_BCHW: Tensor) -> list[Tensor]:
        """(B, prefix + h w, width) for each of `depths`, class and register tokens first; behind the last block normalised."""
        net = self.network()
        x_BTC = net.patch_embed(((images_BCHW + 1) / 2 - self.mean_1C11) / self.std_1C11)
        x_BTC = net.norm_pre(net._pos_embed(x_BTC))
        found = {-1: x_BTC}
        for depth, block in enumerate(net.blocks[: max(self.depths) + 1]):
            x_BTC = found[depth] = block(x_BTC)
        return [found[depth] for depth in self.depths]

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        """(B, h w, width) for each of `depths`: each patch, plus the class token if there is one."""
        prefix = self.net.num_prefix_tokens
        return [
            x[:, prefix:] + x[:, :1] if self.net.has_class_token else x[:, prefix:] for x in self.tokens(images_BCHW)
        ]

    def patches(self, images_BCHW: Tensor) -> Tensor:
        """(B, h w, width): the patches behind the last of `depths`, normalised if that is the last block."""
        (*_, x_BTC) = self.tokens(images_BCHW)
        if self.depths[-1] == len(self.net.blocks) - 1:
            x_BTC = self.network().norm(x_BTC)
        return x_BTC[:, self.net.num_prefix_tokens :]

    def extra_repr(self) -> str:
        return self.provenance


def build(model: str, device: torch.device, pretrained: bool, options: Mapping[str, Any]) -> Any:
    """The network without what is behind its last norm."""
    import timm  # takes seconds
    from timm.models import VisionTransformer

    if not timm.is_model(model):
        raise UserError(f"ViTFeatures: timm has no network '{model}'; {nearest_hint(model, timm.list_models())}")
    common: dict[str, Any] = dict(num_classes=0, global_pool='', dynamic_img_size=True, **options)
    try:
        with torch.random.fork_rng(devices=[]), torch.device('meta' if device.type == 'meta' else 'cpu'):
            torch.default_generator.manual_seed(SEED)  # `torch.manual_seed` would seed GPUs too
            net = timm.create_model(model, pretrained=pretrained, **common)
    except TypeError as error:
        raise UserError(f'ViTFeatures: {model} is no plain vision transformer ({error}).') from error
    except (OSError, RuntimeError) as error:
        short = ' '.join(str(error).split())[:200]
        raise MissingWeightsError(f"ViTFeatures: timm's weights of {model} are not here ({short}).") from error
    if not isinstance(net, VisionTransformer):
        raise UserError(f'ViTFeatures: {model} is a {type(net).__name__}, not a plain vision transformer.')
    return net


def network_name(model: str) -> str:
    """Which network a name of timm or of DINOv2's files is: its kind of training, whatever its size or patches are."""
    lowered = model.lower()
    return next(
        (kind for kind in ('dinov3', 'dinov2', 'dino', 'siglip', 'clip') if kind in lowered), lowered.split('.')[0]
    )
