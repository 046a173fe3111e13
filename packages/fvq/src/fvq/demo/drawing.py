"""Images of a generator, a few at a time; the same that `fvq sample` draws for the same classes and seed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from PIL import Image, ImageOps

from fvq_core.codes import CodeLayout, Codes
from fvq_core.errors import UserError
from fvq_core.images import from_uint8, to_uint8
from fvq_core.positions import Pyramid
from fvq_generators.image_generator import ImageGenerator
from fvq_generators.image_sets.sample_plan import SamplePlan
from fvq_generators.inpainting import PARTS, first_scales, kept_codes, part_of_image

from .examination import pixels_tensor

MOST_IMAGES = 64
AT_ONCE = 4  # images between two steps of the progress bar
GREY = 128
PAINTING_SIDE = 480
MOST_LETTERS = 1000  # of a text with classes, each of whose ranges may name all of them
SCALES = re.compile(r'first (\d+) scales?')
PAINTED = 'all but what is painted over'


@dataclass(frozen=True, eq=False)
class Kept:
    """A photo of which a part is kept.

    Args:
        codes: Its codes, of one image.
        keep_L: bool (L,).
        picture: uint8 (H, W, 3), grey where it is drawn.
    """

    codes: Codes
    keep_L: torch.Tensor
    picture: np.ndarray


def why_not(model: ImageGenerator) -> str:
    """Why the page cannot draw with a generator; empty if it can."""
    if model.generator.num_classes is None:
        return (
            'This generator draws from captions, whose features the page does not compute: use "fvq sample --captions".'
        )
    return ''


def parse_classes(text: str, num_classes: int) -> tuple[int, ...]:
    """Classes from `3`, `0, 4, 7` or `2-5`; all of them if the text is empty."""
    if len(text) > MOST_LETTERS:
        raise UserError(f'classes take up to {MOST_LETTERS:,} letters, got {len(text):,}.')
    found: list[int] = []
    for part in text.replace(',', ' ').split():
        match = re.fullmatch(r'(\d{1,9})(?:-(\d{1,9}))?', part)
        last = int(match[2] or match[1]) if match else -1
        if match is None or not int(match[1]) <= last < num_classes:
            raise UserError(
                f"classes are numbers from 0 to {num_classes - 1}, such as '3', '0 4 7' or '2-5'; got '{part}'."
            )
        found += range(int(match[1]), last + 1)
    return tuple(found or range(num_classes))


def parts(model: ImageGenerator) -> list[str]:
    """The parts of a photo that a generator can keep; none if it cannot keep any."""
    if not model.generator.inpaints or not isinstance(model.generator.layout, CodeLayout) or model.tokenizer is None:
        return []
    positions = model.generator.layout.positions
    try:
        kept_codes(torch.ones(model.image_size, dtype=torch.bool), model.generator.layout)
    except UserError:  # codes without a place on the image
        return []
    scales = len(positions.scales) if isinstance(positions, Pyramid) else 1
    return [*PARTS, PAINTED, *(f'first {n} scale{"s" * (n > 1)}' for n in range(1, scales))]


def fit_to(model: ImageGenerator, photo: np.ndarray) -> np.ndarray:
    """A photo, uint8 (H, W, 3), scaled and cropped about its centre to the size that the generator draws."""
    height, width = model.image_size
    return np.asarray(ImageOps.fit(Image.fromarray(photo), (width, height), Image.Resampling.BICUBIC))


def enlarged(pixels: np.ndarray) -> np.ndarray:
    """An image in whole multiples of its size, so that it can be painted on: uint8 (H, W, 3)."""
    factor = max(1, PAINTING_SIDE // max(pixels.shape[:2]))
    return pixels.repeat(factor, 0).repeat(factor, 1)


def painted_over(layers: Sequence[np.ndarray], height: int, width: int) -> np.ndarray:
    """What was painted on an `enlarged` image, bool (H, W) at its own size; raises if nothing was.

    Args:
        layers: RGBA, uint8; what is not transparent is paint.
    """
    painted_HW = np.zeros((height, width), bool)
    for layer in layers:
        rows, columns = layer.shape[0] // height, layer.shape[1] // width
        if layer.shape[:2] == (rows * height, columns * width):
            painted_HW |= (layer[..., 3] > 0).reshape(height, rows, width, columns).any((1, 3))
    if not painted_HW.any():
        raise UserError('paint over the part of the photo that is to be drawn again.')
    return painted_HW


@torch.inference_mode()
def keep_part(model: ImageGenerator, pixels: np.ndarray, part: str, painted: np.ndarray | None = None) -> Kept:
    """A photo with what is kept of it.

    Args:
        pixels: See `fit_to`.
        part: One of `parts`.
        painted: For `PAINTED`: bool (H, W), True for what is to be drawn.

    Raises:
        UserError: All is kept, or nothing.
    """
    layout, tokenizer = cast(CodeLayout, model.generator.layout), model.tokenizer
    assert tokenizer is not None
    keep_HW, scales = torch.ones(pixels.shape[:2], dtype=torch.bool), SCALES.fullmatch(part)
    if part == PAINTED:
        keep_HW = torch.from_numpy(~painted) if painted is not None else keep_HW
    elif part in PARTS:
        keep_HW = part_of_image(part, *pixels.shape[:2])
    elif scales is None:
        raise UserError(f"a generator does not keep '{part}'; choose one of {', '.join(parts(model))}.")
    keep_L = kept_codes(keep_HW, layout) if scales is None else first_scales(int(scales[1]), layout)
    if keep_L.all():
        raise UserError('all of the photo is kept, so there is nothing to draw; paint over what is to be drawn.')
    if not keep_L.any():
        raise UserError('nothing of the photo is kept; leave more of it.')
    codes = tokenizer.encode(from_uint8(pixels_tensor(pixels)).to(model.device))
    return Kept(codes, keep_L, np.where(keep_HW[..., None].numpy(), pixels, np.uint8(GREY)))


def draw(
    model: ImageGenerator,
    classes: tuple[int, ...],
    count: int,
    seed: int,
    settings: Mapping[str, Any],
    kept: Kept | None = None,
    at_once: int = AT_ONCE,
) -> Iterator[list[tuple[np.ndarray, int]]]:
    """Draw images; after each few, all so far: uint8 (H, W, 3) and class.

    Args:
        classes: Dealt out in turn.
        count: Images, 1 to `MOST_IMAGES`.
        seed: 0 or more; an image depends only on it, its number and its class.
        settings: Fields of the generator's `Sampling`.
        kept: What is kept of a photo.
        at_once: Images between two results.
    """
    if not 1 <= count <= MOST_IMAGES:
        raise UserError(f'this page draws 1 to {MOST_IMAGES} images at a time, got {count}.')
    plan = SamplePlan(count, classes, False, seed, {})
    chosen = model.settings(**settings).to_dict()
    drawn: list[tuple[np.ndarray, int]] = []
    for start in range(0, count, at_once):
        numbers = range(start, min(start + at_once, count))
        labels = [plan.label(number) for number in numbers]
        extra: dict[str, Any] = {}
        if kept is not None:
            given = Codes(kept.codes.indices_BL.expand(len(labels), -1), kept.codes.layout)
            extra = dict(given=given, keep_BL=kept.keep_L.expand(len(labels), -1))
        images = model.sample(labels, seeds=[plan.image_seed(number) for number in numbers], **chosen, **extra)
        pixels = to_uint8(images).permute(0, 2, 3, 1).cpu().numpy()
        drawn += zip(pixels, labels, strict=True)
        yield list(drawn)
