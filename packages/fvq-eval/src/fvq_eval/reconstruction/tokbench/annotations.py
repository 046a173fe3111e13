"""What TokBench's annotations say of an image, and the images that they are of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.files.json import read_json_value

from ...samples.read_image import read_image

MAX_SIDE = 2**15
Annotated = TypeVar('Annotated', bound='Annotation')


@dataclass(frozen=True)
class Annotation:
    """A word or a face of an image.

    Attributes:
        file: Name of the image.
        size: Height and width of the image that coordinates are of.
        ratio: Size of the word or face over that of the image, as annotated.
    """

    file: str
    size: tuple[int, int]
    ratio: float


def read_annotations(path: str | Path, noun: str, parse: Callable[[Any], Iterable[Annotated]]) -> list[Annotated]:
    """The words or faces of a JSON list of images.

    Args:
        noun: What there should be one of at least, such as `'word'`.
        parse: An entry of the list to what is in the image. Where it raises a KeyError, TypeError, ValueError or OverflowError,
            the file is refused.

    Raises:
        UserError: Another file, or nothing in any image.
    """
    try:
        found = [each for image in read_json_value(path, 'take the annotations of TokBench') for each in parse(image)]
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        reason = ' '.join(str(error).split())[:100]
        raise UserError(f'{path}: expected the annotations of TokBench, got something else ({reason}).') from error
    if not found:
        raise UserError(f'{path} has no {noun}.')
    return found


def cut_images(
    folder: str | Path, annotations: Sequence[Annotated], cut: Callable[[Tensor, Annotated], Tensor]
) -> Iterator[Tensor]:
    """What `cut` takes of its image, uint8 (3, H, W), for each; an image is read once if what it holds follows each other."""
    opened: tuple[str, Tensor] | None = None
    for each in annotations:
        if opened is None or opened[0] != each.file:
            opened = (each.file, open_image(Path(folder) / each.file, each.size))
        yield cut(opened[1], each)


def open_image(path: Path, size: tuple[int, int]) -> Tensor:
    """An image as uint8 (3, H, W); raises if it has another size than its annotations."""
    image = read_image(path, 1, MAX_SIDE)
    if image.size[::-1] != size:
        raise UserError(
            f'{path} is {image.width}x{image.height}, its annotations are of {size[1]}x{size[0]}; resize reconstructions to '
            'the size of the originals.'
        )
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)
