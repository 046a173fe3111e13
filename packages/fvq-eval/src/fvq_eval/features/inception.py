"""The Inception network of 2015 that FID is defined on (Heusel et al., 2017), from torch-fidelity's blocks."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.registry import FEATURE_EXTRACTORS
from fvq_core.saving.weights import load_weights

from .feature_extractor import FeatureExtractor
from .inception_weights import FILE, find_inception, read_inception

SIDE = 299
SPATIAL_CHANNELS = 7
SEED = 0  # of random weights


@FEATURE_EXTRACTORS.register_module()
class InceptionV3(FeatureExtractor):
    """TensorFlow's graph of 2015-12-05 as torch-fidelity converted it (`inception-v3-compat`).

    Pixels are resized to 299 x 299 by TensorFlow 1's bilinear kernel, whose grid starts at a pixel's corner, and scaled to
    (x - 128) / 128. An image that is 299 x 299 already stays as it is, so a protocol with another kernel resizes before.

    - `pool`, 2048: `pool_3`, what FID, KID, precision and recall are of.
    - `logits`, 1008: without bias, what Inception scores are of (ADM's evaluator and torch-fidelity multiply `pool_3` by the
      weights only); the bias is `logit_bias_C`.
    - `spatial`, 2023: what ADM's sFID is of, the first 7 channels of `mixed_6/conv` in the order (row, column, channel).
      torch-fidelity's converter names the weights under `mixed_6/conv` Mixed_6d.branch1x1, the first branch that Mixed_6d
      joins. In the graph's list of nodes each `conv` scope ends `batchnorm, CheckNumerics, control_dependency, conv`, and the
      next layer follows: the node called `conv` is the ReLU, so these are values after it. That is certain as far as the
      names go; no number of ADM's was at hand to compare with.

    Args:
        weights: See `find_inception`. Only the published file is taken, by its sha256.
        random: Random weights of a fixed seed instead, for tests and timings. It has another name: nothing made with it is
            an FID.

    Raises:
        MissingWeightsError: The file is neither here nor can it be downloaded.
        UserError: Another file.
    """

    def __init__(self, weights: str | Path | None = None, random: bool = False) -> None:
        super().__init__()
        if random and weights is not None:
            raise UserError(f'InceptionV3: random=True contradicts weights={str(weights)!r}; leave one of them out.')
        self.name = 'inception-2015-random-weights' if random else 'inception-2015'
        self.sizes = {'pool': 2048, 'spatial': 17 * 17 * SPATIAL_CHANNELS, 'logits': 1008}
        self.preprocessing = f'TensorFlow 1 bilinear to {SIDE} x {SIDE}, (x - 128) / 128'
        path = None if random else find_inception(weights)
        state = None if path is None else read_inception(path)
        with torch.device('meta'):
            self.build()
        self.to_empty(device='cpu')
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
        if state is None:
            self.fill_random()
            self.provenance = f'InceptionV3 with random weights, seed {SEED}: not the trained network'
        else:
            own = self.state_dict()
            counters = {key: own[key] for key in own if key.endswith('num_batches_tracked')}
            load_weights(self, counters | state, str(path))
            self.provenance = f'{FILE}, sha256 checked'
        self.logit_bias_C = self.fc.bias.detach()
        self.freeze()

    def build(self) -> None:
        """The layers, under the names of the published file."""
        from torch_fidelity import feature_extractor_inceptionv3 as tf2015  # takes a second

        conv, a, c = tf2015.BasicConv2d, tf2015.InceptionA, tf2015.InceptionC
        self.Conv2d_1a_3x3 = conv(3, 32, kernel_size=3, stride=2)
        self.Conv2d_2a_3x3 = conv(32, 32, kernel_size=3)
        self.Conv2d_2b_3x3 = conv(32, 64, kernel_size=3, padding=1)
        self.Conv2d_3b_1x1 = conv(64, 80, kernel_size=1)
        self.Conv2d_4a_3x3 = conv(80, 192, kernel_size=3)
        self.Mixed_5b = a(192, pool_features=32)
        self.Mixed_5c = a(256, pool_features=64)
        self.Mixed_5d = a(288, pool_features=64)
        self.Mixed_6a = tf2015.InceptionB(288)
        self.Mixed_6b = c(768, channels_7x7=128)
        self.Mixed_6c = c(768, channels_7x7=160)
        self.Mixed_6d = c(768, channels_7x7=160)
        self.Mixed_6e = c(768, channels_7x7=192)
        self.Mixed_7a = tf2015.InceptionD(768)
        self.Mixed_7b = tf2015.InceptionE_1(1280)
        self.Mixed_7c = tf2015.InceptionE_2(2048)
        self.fc = nn.Linear(2048, 1008)

    def fill_random(self) -> None:
        """Normal weights that keep the scale of activations; the global random state is not changed."""
        rng = torch.Generator().manual_seed(SEED)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.kaiming_normal_(parameter, nonlinearity='relu', generator=rng)
        nn.init.normal_(self.fc.bias, generator=rng)

    def extract(self, pixels_BCHW: Tensor) -> dict[str, Tensor]:
        from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

        x = interpolate_bilinear_2d_like_tensorflow1x(pixels_BCHW, size=(SIDE, SIDE), align_corners=False)
        x = (x - 128) / 128
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = F.max_pool2d(x, kernel_size=3, stride=2)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))
        x = F.max_pool2d(x, kernel_size=3, stride=2)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        x = self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x))))
        spatial_BD = x[:, :SPATIAL_CHANNELS].permute(0, 2, 3, 1).flatten(1)
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(self.Mixed_6e(x))))
        pool_BD = F.adaptive_avg_pool2d(x, (1, 1)).flatten(1)
        return {'pool': pool_BD, 'spatial': spatial_BD, 'logits': pool_BD @ self.fc.weight.T}
