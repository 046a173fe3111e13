"""A protocol preset: everything that a number depends on beside the images and the model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor

from fvq_core.data.transforms import ADMCenterCrop
from fvq_core.errors import UserError
from fvq_core.registry import TRANSFORMS

from ..crops import BilinearCenterCrop, CenterCrop, LanczosCenterCrop, OpenCVCenterCrop
from ..metrics.conventions import LPIPSConventions, PSNRConventions, SSIMConventions
from ..metrics.rounding import IN_WORDS, Rounding, check_rounding, original_pixels, to_pixels
from ..statistics.conventions import FeatureConventions
from .jpeg_codec import jpeg
from .protocol_facts import ProtocolFacts

VALIDATION_IMAGES = 50_000  # of ImageNet
KERNELS = {
    ADMCenterCrop: 'halved by box filter while twice too large, then bicubic (PIL)',
    BilinearCenterCrop: 'bilinear with antialiasing (PIL)',
    CenterCrop: 'not resized; smaller images are padded with black',
    LanczosCenterCrop: 'the largest square, then Lanczos (PIL)',
    OpenCVCenterCrop: 'bilinear without antialiasing (OpenCV)',
}


@dataclass(frozen=True)
class Crop:
    """A registered transform that makes squares of images.

    Attributes:
        type: Its name in `TRANSFORMS`.
        size: Side in pixels.
        upsample: Enlarge smaller images, for the transforms that would refuse them.
    """

    type: str
    size: int = 256
    upsample: bool = False

    def config(self) -> dict[str, Any]:
        """The config for `TRANSFORMS.build`."""
        return dict(type=self.type, size=self.size, **(dict(upsample=True) if self.upsample else {}))

    def __str__(self) -> str:
        return f'{self.type} to {self.size}x{self.size}, {KERNELS.get(TRANSFORMS.resolve(self.type), "a kernel of its own")}'


@dataclass(frozen=True)
class Preset(ProtocolFacts):
    """One way to evaluate.

    Attributes:
        name: What every number's protocol starts with.
        source: Authors of the protocol, and the script that defines it.
        crop: What is reconstructed of each image.
        rounding: How the networks' images become the pixels whose features are taken; see `to_pixels`.
        codec: `'jpeg'`: both sides go through PIL's JPEG of default quality before features are taken, in memory.
        reference: What samples are compared with: `'originals'`, the same crops of the same images, or `'external'`, a
            file of statistics or images that the user names.
        reference_words: Description of that reference.
        extractor: Name of the feature extractor that makes the distance an FID.
        preprocessing: How pixels reach it: `'tf1'`, the resize of the 2015 graph and (x - 128) / 128; `'half-pixel'`,
            pytorch-fid's resize and 2 x / 255 - 1; `'friendly'`, StudioGAN's resize and the same. Another network has
            its own; a preset that was applied describes it in words.
        features: Scores of features that the protocol gives, and their conventions.
        psnr: Conventions, for each PSNR that the protocol gives.
        ssim: Conventions; None if it gives none.
        ms_ssim: Whether it gives MS-SSIM.
        lpips: Conventions, for each LPIPS that it gives.
        samples: Images of a whole evaluation; numbers of fewer are marked partial.
        samples_from: Who set that number: the protocol, or the user for another data set, which every number states.
        perturbation: What was done to the codes before they were decoded, in words.
    """

    name: str
    source: str
    crop: Crop
    rounding: Rounding
    reference_words: str
    features: FeatureConventions
    reference: Literal['originals', 'external'] = 'originals'
    codec: Literal['jpeg'] | None = None
    extractor: str = 'inception-2015'
    preprocessing: str = 'tf1'
    psnr: tuple[PSNRConventions, ...] = ()
    ssim: SSIMConventions | None = None
    ms_ssim: bool = False
    lpips: tuple[LPIPSConventions, ...] = ()
    samples: int = VALIDATION_IMAGES
    samples_from: Literal['protocol', 'user'] = 'protocol'
    perturbation: str | None = None

    def __post_init__(self) -> None:
        check_rounding(f"preset '{self.name}'", self.rounding)
        if self.codec is not None and self.rounding == 'float':
            raise UserError(f"preset '{self.name}': a codec stores 8 bits; choose another rounding than 'float'.")
        if self.samples < 1:
            raise UserError(f"preset '{self.name}': samples must be 1 or more, got {self.samples}.")

    def pixels(self, images_BCHW: Tensor, original: bool = False) -> Tensor:
        """The pixels of features, (B, 3, H, W): uint8, or float32 in [0, 255] if the protocol does not round.

        Args:
            images_BCHW: RGB floats, nominally in [-1, 1].
            original: They are originals of 8 bits, which no rounding but `truncate` changes.
        """
        pixels = original_pixels(images_BCHW, self.rounding) if original else to_pixels(images_BCHW, self.rounding)
        return jpeg(pixels) if self.codec == 'jpeg' else pixels

    def at(self, size: int | None = None, samples: int | None = None) -> Preset:
        """The same for another resolution, or another data set's number of images; None keeps what it is."""
        changed = self if size is None else replace(self, crop=replace(self.crop, size=size))
        return changed if samples in (None, self.samples) else replace(changed, samples=samples, samples_from='user')

    def metric_configs(self, lpips_weights: str | None = None) -> list[dict[str, Any]]:
        """Configs of the components of `METRICS` that compare image by image, and of those that read codes."""
        configs: list[dict[str, Any]] = [dict(type='PSNR', conventions=c) for c in self.psnr]
        configs += [dict(type='SSIM', conventions=self.ssim)] if self.ssim else []
        configs += [dict(type='MSSSIM')] if self.ms_ssim else []
        configs += [
            dict(type='PerceptualDistance', conventions=c, weights=lpips_weights, name_net=True) for c in self.lpips
        ]
        configs += [dict(type='CodebookUsage'), dict(type='CodeBits'), dict(type='QuantizationError')]
        return [dict(config, preset=self.name) for config in configs]

    def perturbed(self, words: str) -> Preset:
        """The same for reconstructions of perturbed codes, under a name of its own."""
        return replace(self, name=f'{self.name}-perturbed', perturbation=words)

    @property
    def declared(self) -> str:
        """What the user changed: `'whole set declared as 5,000 images; '`, and what was done to the codes."""
        words = f'whole set declared as {self.samples:,} images; ' if self.samples_from == 'user' else ''
        return f'{words}{self.perturbation}; ' if self.perturbation else words

    def protocol(self, preprocessing: str | None = None) -> str:
        """How scores of features are computed, in words: everything that changes them except the reference.

        Args:
            preprocessing: What another network than the preset's does to pixels, in words.
        """
        codec = ', JPEG of default quality on both sides' if self.codec else ''
        resize = preprocessing or f'{self.preprocessing} resize'
        return f'{self.declared}{self.crop}; {IN_WORDS[self.rounding]}{codec}; {resize}'
