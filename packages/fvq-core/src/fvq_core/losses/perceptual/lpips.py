"""LPIPS: distances between images in a classifier's features (Zhang et al., CVPR 2018), version 0.1.

The networks, and the channel weights fitted to human judgements, come from the `lpips` package.
"""

from __future__ import annotations

import warnings
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import UserError, nearest_hint
from ...ops.feature_distance import feature_distance
from ...saving.weights import load_weights
from .frozen_network import FrozenNetwork
from .weights import BACKBONES, find_backbone, load_tensors, read_backbone

SEED = 0  # of random weights
SMALLEST = dict(vgg=16, alex=31, squeeze=17)  # smaller images have no position left in the last features


class LPIPS(FrozenNetwork):
    """Distances between pairs of images: 0 for equal ones, larger for less similar ones.

    It is frozen and always in eval mode unless it has `dropout`. Convolutions run in the precision of the surrounding
    autocast; features are normalized and compared in at least float32.

    Args:
        net: `vgg` (with which tokenizers are trained), `alex` (with which LPIPS is usually reported) or `squeeze`.
        weights: File of the network's trained weights, or its folder; by default where `find_backbone` looks.
        lin_weights: File of channel weights with the `lpips` package's keys; by default the package's own.
        dropout: Drop half of the channel differences in train mode. VQGAN, LlamaGen and FVQ train that way: the dropout
            with which the channel weights were fitted was left on.
        random: Random weights from a fixed seed instead of trained ones, for tests and timings. This is not LPIPS.
        check_hash: Refuse a `weights` file that is not the published one.
        target_gradient: Give the target a gradient too, as those projects do; it costs time and memory.

    Attributes:
        provenance: The weights in words, for numbers measured with them.

    Raises:
        UserError: An unknown network, options that contradict each other, or weights that do not fit.
        MissingWeightsError: The trained weights are not on this machine and cannot be downloaded. On the meta device
            (`with torch.device('meta')`) none are needed.
    """

    shift_1C11: Tensor
    scale_1C11: Tensor

    def __init__(
        self,
        net: str = 'vgg',
        weights: str | Path | None = None,
        lin_weights: str | Path | None = None,
        dropout: bool = False,
        random: bool = False,
        check_hash: bool = True,
        target_gradient: bool = False,
    ) -> None:
        super().__init__()
        if net not in BACKBONES:
            raise UserError(f"LPIPS: no network '{net}'; {nearest_hint(net, BACKBONES)}")
        if random and weights is not None:
            raise UserError(f'LPIPS: random=True contradicts weights={str(weights)!r}; leave one of them out.')
        self.net_name, self.dropout, self.target_gradient = net, dropout, target_gradient
        device = torch.get_default_device()
        self.net, widths = feature_network(net)
        self.lins = nn.ParameterList(torch.empty(1, width, 1, 1, device='meta') for width in widths)
        self.provenance = 'no weights, on the meta device'
        if device.type != 'meta':
            self.to_empty(device='cpu')
            self.provenance = self.fill_random() if random else self.fill_trained(weights, check_hash)
            self.fill_lins(lin_weights)
        # Mean and standard deviation of ImageNet's pixels, as in the package, for images in [-1, 1].
        self.register_buffer('shift_1C11', torch.tensor([-0.030, -0.088, -0.188], device='cpu').view(1, 3, 1, 1))
        self.register_buffer('scale_1C11', torch.tensor([0.458, 0.448, 0.450], device='cpu').view(1, 3, 1, 1))
        self.requires_grad_(False).eval().to(device)

    def fill_random(self) -> str:
        """Normal weights that keep the scale of activations, zero biases; the global random state is not touched."""
        rng = torch.Generator().manual_seed(SEED)
        for parameter in self.net.parameters():
            if parameter.ndim > 1:
                nn.init.kaiming_normal_(parameter, nonlinearity='relu', generator=rng)
            else:
                nn.init.zeros_(parameter)
        return f'random weights, seed {SEED}: not LPIPS'

    def fill_trained(self, weights: str | Path | None, check_hash: bool) -> str:
        path = find_backbone(self.net_name, weights)
        state, provenance = read_backbone(path, self.net_name, check_hash)
        # Ours: `slice2.5.weight`; the classifier's: `features.5.weight`, among others that LPIPS does without.
        theirs = {key: f'features.{key.split(".", 1)[1]}' for key in self.net.state_dict()}
        load_weights(self.net, {own: state[key] for own, key in theirs.items() if key in state}, str(path))
        return provenance

    def fill_lins(self, lin_weights: str | Path | None) -> None:
        if lin_weights is None:
            with as_file(files('lpips') / 'weights' / 'v0.1' / f'{self.net_name}.pth') as path:
                state = load_tensors(path)
        else:
            state = load_tensors(Path(lin_weights))
            self.provenance += f', channel weights of {lin_weights}'
        theirs = {str(index): f'lin{index}.model.1.weight' for index in range(len(self.lins))}
        load_weights(self.lins, {own: state[key] for own, key in theirs.items() if key in state}, str(lin_weights))

    def train(self, mode: bool = True) -> LPIPS:
        """Stays in eval mode without `dropout`."""
        return super().train(mode and self.dropout)

    def forward(self, input_BCHW: Tensor, target_BCHW: Tensor) -> Tensor:
        """Distances, (B,) float32.

        Args:
            input_BCHW: RGB in [-1, 1]. The range is not checked, which would wait for a GPU.
            target_BCHW: The same, of the same shape; it gets a gradient only with `target_gradient`.

        Raises:
            UserError: Shapes or types that cannot be images in [-1, 1].
        """
        self.check(input_BCHW, target_BCHW)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.target_gradient):
            targets = self.features(target_BCHW)
        inputs = self.features(input_BCHW)
        slices = zip(inputs, targets, self.lins, strict=True)
        return torch.stack([feature_distance(a, b, self.channel_weights(lin, a)) for a, b, lin in slices]).sum(0)

    def features(self, images_BCHW: Tensor) -> list[Tensor]:
        """Feature maps (B, C, H, W) of each slice of the network, in the convolutions' precision."""
        h, features, net = (images_BCHW - self.shift_1C11) / self.scale_1C11, [], self.network()
        for index in range(1, len(self.lins) + 1):
            h = getattr(net, f'slice{index}')(h)
            features.append(h)
        return features

    def channel_weights(self, lin_1C11: Tensor, like_BCHW: Tensor) -> Tensor:
        return F.dropout(lin_1C11.expand(like_BCHW.shape), 0.5) if self.training else lin_1C11

    def check(self, input_BCHW: Tensor, target_BCHW: Tensor) -> None:
        smallest = SMALLEST[self.net_name]
        for images in (input_BCHW, target_BCHW):
            if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < smallest:
                raise UserError(
                    f'LPIPS: expected RGB images (B, 3, H, W) with sides of at least {smallest} for {self.net_name}, '
                    f'got {tuple(images.shape)}.'
                )
            if not images.is_floating_point():
                raise UserError(
                    f'LPIPS: expected floats in [-1, 1], got {images.dtype}; see fvq_core.images.from_uint8.'
                )
        if input_BCHW.shape != target_BCHW.shape:
            raise UserError(
                f'LPIPS: input {tuple(input_BCHW.shape)} and target {tuple(target_BCHW.shape)} differ; pass pairs of '
                'equal size.'
            )

    def extra_repr(self) -> str:
        return f'{self.net_name}, {self.provenance}'


def feature_network(net: str) -> tuple[Any, list[int]]:
    """The `lpips` package's network on the meta device, and the channels of each of its slices.

    On the meta device the classifier's large last layers, which are dropped, cost nothing, and no random numbers are drawn.
    """
    import lpips  # and torchvision's models: takes seconds

    with torch.device('meta'), warnings.catch_warnings():
        # How the package asks torchvision for an untrained network.
        for message in ("The parameter 'pretrained' is deprecated", 'Arguments other than a weight enum'):
            warnings.filterwarnings('ignore', message, UserWarning)
        package = lpips.LPIPS(pretrained=False, net=net, pnet_rand=True, verbose=False)
    return package.net, package.chns
