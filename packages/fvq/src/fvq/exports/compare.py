"""What an export gives on real crops, beside what FVQ gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fvq_core.autoencoder import Autoencoder
from fvq_core.codes import Codes
from fvq_core.data.photos import load_photos
from fvq_core.images import from_uint8
from fvq_core.progress import Progress

from .graphs import Sizes, side_multiple
from .near_ties import gaps

CROPS = 60
BATCH = 6
SIDE = 64  # pixels, at least
POSITIONS = 6  # along a side, at least
NEAR_TIE = 1e-5  # relative gap
MOST_DIFFERENT = 0.1  # percent of codes
MOST_DIFFERENT_HALF = 1.0
PIXELS = 1e-4  # largest difference, of images in [-1, 1]
MOMENTS = 1e-4  # of the largest magnitude


class Loaded(Protocol):
    """An export as its user has it, read back from the disk."""

    def encode(self, images: Tensor) -> Tensor:
        """What `Encode` gives."""
        ...

    def decode(self, given: Tensor) -> Tensor:
        """What `Decode` gives."""
        ...


@dataclass(frozen=True)
class Comparison:
    """Figures of one comparison.

    Attributes:
        crops: Number of crops.
        codes: Number of codes; 0 of a continuous autoencoder.
        different: Percent of codes that differ, those that follow from an earlier one included.
        largest_gap: Largest relative gap of a choice that differs, 0 if none does.
        pixels: Largest difference of pixels decoded from the same codes or latents, in units of [-1, 1].
        moments: Largest difference of the moments, as a share of their largest magnitude; 0 of codes.
        half: Whether the export computes in float16.
    """

    crops: int
    codes: int
    different: float
    largest_gap: float
    pixels: float
    moments: float
    half: bool

    def facts(self) -> dict[str, Any]:
        """JSON-ready, for the file's metadata."""
        return asdict(self)

    def sentence(self) -> str:
        """The figures in words."""
        if not self.codes:
            return (
                f'{self.crops} crops: moments within {self.moments:.1e} of the largest, pixels within {self.pixels:.1e}'
            )
        gap = f', the farthest by a relative gap of {self.largest_gap:.1e}' if self.different else ''
        return (
            f'{self.crops} crops: {self.different:.3f} % of {self.codes:,} codes differ{gap}; pixels of the same codes '
            f'within {self.pixels:.1e}'
        )

    def problem(self) -> str | None:
        """Why such an export is refused, or None."""
        if not np.isfinite(self.pixels) or not np.isfinite(self.moments):
            return 'it gives numbers that are not finite'
        most = MOST_DIFFERENT_HALF if self.half else MOST_DIFFERENT
        if self.different > most:
            return f'{self.different:.3f} % of its codes differ, more than {most} %'
        if self.half:
            return None
        if self.largest_gap >= NEAR_TIE:
            return (
                f'a code differs that is no near-tie (a relative gap of {self.largest_gap:.1e}, not below {NEAR_TIE:g})'
            )
        if self.pixels > PIXELS:
            return f'its pixels are off by up to {self.pixels:.1e}, more than {PIXELS:g}'
        if self.moments > MOMENTS:
            return f'its moments are off by {self.moments:.1e} of the largest, more than {MOMENTS:g}'
        return None


def crops(autoencoder: Autoencoder, sizes: Sizes, count: int = CROPS) -> Iterator[Tensor]:
    """Batches of crops of the bundled photos, of several sizes and batch sizes if the export takes them.

    Raises:
        UserError: The photos are not installed.
    """
    step, rng, photos = side_multiple(autoencoder), np.random.default_rng(0), list(load_photos().values())
    side = -(-max(SIDE, POSITIONS * autoencoder.downsample_factor) // step) * step
    shapes = [(sizes.height, sizes.width)] if sizes.fixed else [(side, side), (side - step, side + step)]
    batches = [1, BATCH - 1, *[BATCH] * (count // BATCH - 1)]
    photo = 0
    for number, batch in enumerate(batches):
        height, width = shapes[number % len(shapes)]
        pixels = []
        for _ in range(batch):
            pixels.append(crop(photos[photo % len(photos)], height, width, rng))
            photo += 1
        yield from_uint8(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous())


def crop(photo: np.ndarray, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A window at full resolution; a photo that is too small is enlarged first."""
    scale = max(height / photo.shape[0], width / photo.shape[1])
    if scale > 1:
        size = (max(width, round(photo.shape[1] * scale)), max(height, round(photo.shape[0] * scale)))
        photo = np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BICUBIC))
    top, left = (rng.integers(have - want + 1) for have, want in zip(photo.shape, (height, width), strict=False))
    return photo[top : top + height, left : left + width]


@torch.inference_mode()
def compare(
    autoencoder: Autoencoder, loaded: Loaded, sizes: Sizes, half: bool = False, crop_count: int = CROPS
) -> Comparison:
    """An export beside the autoencoder that it was made of, in float32; `crop_count` is a multiple of `BATCH`."""
    count = codes = different = 0
    gap = pixels = moments = 0.0
    batches = crop_count // BATCH + 1  # see `crops`
    for images in Progress.each(crops(autoencoder, sizes, crop_count), 'comparing', batches, 'batch'):
        count += len(images)
        theirs = loaded.encode(images)
        if autoencoder.quantizer is None:
            ours = (
                autoencoder.posterior(images).moments()
                if autoencoder.variational
                else autoencoder.encode_latent(images)
            )
            moments = max(moments, (theirs - ours).abs().max().item() / ours.abs().max().item())
            given = autoencoder.encode_latent(images)
            wanted = autoencoder.decode_latent(given)
        else:
            z_BDHW = autoencoder.encode_latent(images)
            chosen: Codes = autoencoder.quantizer(z_BDHW).codes
            found = Codes(theirs.flatten(1), chosen.layout)
            chosen.layout.check(found.indices_BL)
            codes += chosen.indices_BL.numel()
            differ = int((chosen.indices_BL != found.indices_BL).sum())
            if differ:
                different += differ
                gap = max(gap, gaps(autoencoder.quantizer, z_BDHW, chosen, found).max().item())
            given, wanted = chosen.unflatten(), autoencoder.decode(chosen)
        error = (loaded.decode(given) - wanted).abs().max().item()
        pixels = error if np.isnan(error) else max(pixels, error)
    return Comparison(count, codes, 100 * different / max(1, codes), gap, pixels, moments, half)
