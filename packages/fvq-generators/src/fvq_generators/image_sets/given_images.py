"""Pictures of which a part is kept and the rest is drawn."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from fvq_core.codes import Codes, Latents
from fvq_core.data.decoding import UnreadableImageError, decode, read_file
from fvq_core.data.sample import to_tensor
from fvq_core.errors import UserError
from fvq_core.images import from_uint8

from ..image_generator import ImageGenerator
from ..inpainting import PARTS, first_scales, given_of, kept_codes, part_of_image
from .sample_grid import sample_grid

GREY = 128  # of what will be drawn, in `picture`
SCALES = re.compile(r'scales:(\d{1,4})')


class GivenImages:
    """The codes or latents of pictures, and which of them are kept.

    Args:
        model: Generator with its tokenizer.
        paths: Picture files; scaled and cropped about their centres to the size that the generator draws. Image i of a
            set begins with picture i modulo their number.
        keep: A part of the image by name, see `PARTS`; `scales:N`, the first N scales of a pyramid; or a picture file, the
            mask: white where the picture is kept and black where it is drawn. It has the size of the drawn image, or that
            of every picture, with which it is scaled and cropped.

    Raises:
        UserError: A file that cannot be read, a mask of another size, one that keeps all codes or none, or a generator that
            cannot keep codes.
    """

    def __init__(self, model: ImageGenerator, paths: Sequence[str], keep: str) -> None:
        generator, tokenizer = model.generator, model.tokenizer
        name = type(generator).__name__
        if not generator.inpaints:
            raise UserError(f'--from: {name} draws all codes of an image, and cannot keep those of a picture.')
        if tokenizer is None:
            raise UserError('--from: name the tokenizer, which encodes the pictures.')
        height, width = model.image_size
        pixels: list[np.ndarray] = []
        sizes: set[tuple[int, int]] = set()
        for path in paths:
            picture = read_picture(path)
            sizes.add(picture.size)
            pixels.append(np.asarray(ImageOps.fit(picture, (width, height), Image.Resampling.BICUBIC)))
        scales = SCALES.fullmatch(keep)
        if scales is not None:
            keep_HW = torch.ones(height, width, dtype=torch.bool)  # all of it, in outlines
        elif keep in PARTS:
            keep_HW = part_of_image(keep, height, width)
        else:
            keep_HW = torch.from_numpy(read_mask(keep, (width, height), sizes))
        layout = generator.layout
        self.keep_L = kept_codes(keep_HW, layout) if scales is None else first_scales(int(scales[1]), layout)
        if self.keep_L.all() or not self.keep_L.any():
            which = 'all codes' if self.keep_L.all() else 'no code'
            raise UserError(
                f'--keep {keep}: keeps {which}, so there is nothing to {"draw" if self.keep_L.all() else "keep"}.'
            )
        images = from_uint8(torch.stack([to_tensor(Image.fromarray(each)) for each in pixels]))
        with torch.no_grad():
            self.codes = given_of(images.to(model.device), tokenizer, layout)
        shown = [np.where(keep_HW[..., None].numpy(), each, np.uint8(GREY)) for each in pixels]
        self.picture = sample_grid([shown[:8]])

    def batch(self, numbers: Sequence[int]) -> dict[str, Any]:
        """`given` and `keep_BL` for images of these numbers."""
        chosen = [number % len(self.codes) for number in numbers]
        if isinstance(self.codes, Codes):
            values = self.codes.indices_BL[chosen]
            given: Codes | Latents = Codes(values, self.codes.layout)
        else:
            values = self.codes.values[chosen]
            given = Latents(values, self.codes.layout)
        return dict(given=given, keep_BL=self.keep_L.to(values.device).expand(len(given), -1))

    def digest(self) -> str:
        """What decides the samples: the codes that are kept, and which."""
        if isinstance(self.codes, Codes):
            kept = torch.where(self.keep_L, self.codes.indices_BL.cpu(), -1)
        else:
            kept = torch.where(self.keep_L, self.codes.values.flatten(2).cpu(), torch.nan)
        return hashlib.sha256(kept.numpy().tobytes()).hexdigest()


def read_picture(path: str, remedy: str = '') -> Image.Image:
    """A picture file as RGB."""
    try:
        return decode(read_file(path))
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror or error}{remedy}.') from error
    except UnreadableImageError as error:
        raise UserError(f'{path} cannot be read as an image: {error}') from error


def read_mask(path: str, drawn: tuple[int, int], pictures: set[tuple[int, int]]) -> np.ndarray:
    """The mask of a file, bool (H, W), True for what is kept.

    Args:
        path: A picture file.
        drawn: Width and height of the drawn image, W and H.
        pictures: Those of the given pictures.
    """
    remedy = f'; --keep takes {", ".join(PARTS)}, scales:N, or a picture that is white where the other is kept'
    mask = read_picture(path, remedy)
    if mask.size != drawn and pictures != {mask.size}:
        others = ' or '.join(size(each) for each in sorted({drawn, *pictures} if len(pictures) == 1 else {drawn}))
        raise UserError(
            f'--keep {path}: the mask has {size(mask.size)} pixels, expected {others}: the size of the drawn image, or of '
            'every picture of --from.'
        )
    return np.asarray(ImageOps.fit(mask, drawn, Image.Resampling.NEAREST).convert('L')) > 127


def size(sides: tuple[int, int]) -> str:
    """Width x height."""
    return f'{sides[0]} x {sides[1]}'
