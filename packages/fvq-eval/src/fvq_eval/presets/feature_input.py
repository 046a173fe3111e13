"""How pixels reach the Inception network: the codec, the resize and the scaling that implementations differ in."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..features.feature_extractor import FeatureExtractor
from ..features.inception import SIDE, InceptionV3
from .jpeg_codec import jpeg
from .preset import Preset


class ChangedInput(FeatureExtractor):
    """A network that sees changed pixels.

    Args:
        network: The network.
        preprocessing: The change, in words.
    """

    def __init__(self, network: FeatureExtractor, preprocessing: str) -> None:
        super().__init__()
        self.network, self.preprocessing = network, preprocessing
        self.name, self.sizes, self.provenance = network.name, network.sizes, network.provenance
        self.logit_bias_C = network.logit_bias_C
        self.freeze()


class HalfPixelInput(ChangedInput):
    """The 2015 Inception network, which takes 299 x 299 images as they are, with the preprocessing of pytorch-fid."""

    def __init__(self, network: FeatureExtractor) -> None:
        super().__init__(network, f'bilinear between pixel centres to {SIDE} x {SIDE}, 2 x / 255 - 1')

    def extract(self, pixels_BCHW: Tensor) -> dict[str, Tensor]:
        return self.network.extract(half_pixel(pixels_BCHW))


class FriendlyInput(ChangedInput):
    """The 2015 Inception network behind StudioGAN's "friendly" resize, which widens its filter where it shrinks."""

    def __init__(self, network: FeatureExtractor) -> None:
        super().__init__(network, f'bilinear with antialiasing (PIL, not rounded) to {SIDE} x {SIDE}, 2 x / 255 - 1')

    def extract(self, pixels_BCHW: Tensor) -> dict[str, Tensor]:
        return self.network.extract(half_pixel(pixels_BCHW, antialias=True))


class CodedInput(ChangedInput):
    """A network that sees images after PIL's JPEG of default quality, for sets of images of 8 bits.

    Its fingerprint is the network's: it is the same features of other pixels, which the preset's words tell apart.
    """

    def __init__(self, network: FeatureExtractor) -> None:
        super().__init__(network, f'JPEG of default quality, {network.preprocessing}')
        self.fingerprint = network.fingerprint

    def extract(self, pixels_BCHW: Tensor) -> dict[str, Tensor]:
        return self.network.extract(jpeg(pixels_BCHW.to(torch.uint8)).to(pixels_BCHW))


INPUTS = {'half-pixel': HalfPixelInput, 'friendly': FriendlyInput}


def half_pixel(pixels_BCHW: Tensor, antialias: bool = False) -> Tensor:
    """What a network with the 2015 graph's scaling must be given to see what pytorch-fid shows it.

    pytorch-fid resizes to 299 pixels by the bilinear kernel between pixel centres, without antialiasing, and scales to
    2 x / 255 - 1; the graph of 2015 scales to (x - 128) / 128. So x becomes 256 x / 255.

    Args:
        antialias: Widen the kernel where it shrinks, as PIL does. It changes nothing of images below 299 pixels.

    Returns:
        float32 (B, 3, 299, 299) in [0, 256].
    """
    sides = (SIDE, SIDE)
    resized = F.interpolate(pixels_BCHW.float(), sides, mode='bilinear', align_corners=False, antialias=antialias)
    return resized * (256 / 255)


def for_image_sets(network: FeatureExtractor, preset: Preset) -> FeatureExtractor:
    """The network for images in files: with a preset's preprocessing, and its codec in memory."""
    built = prepared(network, preset.preprocessing)
    return CodedInput(built) if preset.codec == 'jpeg' else built


def preparation(network: FeatureExtractor, preset: Preset) -> str:
    """All that statistics of image files must agree on beside the images and the network, in words."""
    return f'{preset.name}: {for_image_sets(network, preset).preprocessing}'


def prepared(network: FeatureExtractor, preprocessing: str) -> FeatureExtractor:
    """The network with a preset's preprocessing; another one than Inception keeps its own."""
    changed = INPUTS.get(preprocessing)
    return changed(network) if changed is not None and isinstance(network, InceptionV3) else network
