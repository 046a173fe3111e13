"""How much text survives a tokenizer: T-ACC and T-NED of TokBench (Wu et al., 2025, arXiv 2505.18142)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.files.json import read_json_value
from fvq_core.metric import MetricValue

from ..samples.read_image import read_image
from .text_recognizer import TextRecognizer

# For each side that images were resized to: the bounds of the size of a word over that of its image, as released.
BOUNDS = {256: (0.02, 0.03, 0.04, 1.0), 512: (0.01, 0.02, 0.03, 1.0), 1024: (0.005, 0.01, 0.02, 1.0)}
MAX_SIDE = 2**15


@dataclass(frozen=True)
class Word:
    """A word of an image: what it says, its box (left, top, right, bottom) in pixels, its relative size, and its file."""

    file: str
    size: tuple[int, int]  # height and width of the image that the box belongs to
    text: str
    box: tuple[int, int, int, int]
    ratio: float


def read_words(path: str | Path) -> list[Word]:
    """The words of an annotation file of TokBench.

    It is a list of images, `{file_name, height, width, annotations: [{rec, bbox, ratio}]}`. Boxes are cut to whole pixels.

    Raises:
        UserError: Another file, no word, an empty word, or a box that is not in its image.
    """
    words = []
    try:
        for image in read_json_value(path, 'take the annotations of TokBench'):
            size = int(image['height']), int(image['width'])
            for each in image['annotations']:
                left, top, right, bottom = map(int, each['bbox'])
                words.append(
                    Word(
                        str(image['file_name']),
                        size,
                        str(each['rec']),
                        (left, top, right, bottom),
                        float(each['ratio']),
                    )
                )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, UserError):
            raise
        reason = ' '.join(str(error).split())[:100]
        raise UserError(f'{path}: expected the annotations of TokBench, got something else ({reason}).') from error
    if not words:
        raise UserError(f'{path} has no word.')
    for word in words:
        (left, top, right, bottom), (height, width) = word.box, word.size
        if not (0 <= left < right <= width and 0 <= top < bottom <= height and word.text and math.isfinite(word.ratio)):
            raise UserError(f"{path}: '{word.text}' of {word.file} has the box {word.box} in {width}x{height} pixels.")
    return words


def edit_distance(one: str, other: str) -> int:
    """The fewest insertions, deletions and replacements of characters that make one text the other (Levenshtein)."""
    row = [*range(len(other) + 1)]
    for i, a in enumerate(one, 1):
        above, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (a != b))
    return row[-1]


def score_text(
    folder: str | Path, words: Sequence[Word], recognizer: TextRecognizer, setting: int = 256, batch_size: int = 64
) -> dict[str, MetricValue]:
    """`t_acc` and `t_ned` (%), of each range of sizes and as means over the ranges, of the images in a folder.

    A word is right if it is read exactly, upper and lower case told apart; `t_ned` is 1 - edit distance / length of the longer
    text. Words of other sizes than the ranges of the `setting` do not count, and each range weighs the same, as released. The
    release skips a whole batch if a text has a character that the network does not know; here such a word is read wrongly.

    Args:
        folder: Reconstructions, or the originals for the upper bound, by the names and in the sizes of the annotations.
        setting: The side that images were resized to before they were reconstructed.

    Raises:
        UserError: An image is missing or of another size, or a range has no word.
    """
    bounds = BOUNDS[setting]
    ranges: list[list[tuple[float, float]]] = [[] for _ in bounds[1:]]
    counted = [word for word in words if bounds[0] <= word.ratio < bounds[-1]]
    images: dict[str, Tensor] = {}  # those of the last batch: words of an image follow each other
    for start in range(0, len(counted), batch_size):
        batch = counted[start : start + batch_size]
        sizes = {word.file: word.size for word in batch}
        images = {
            file: images[file] if file in images else open_image(Path(folder) / file, size)
            for file, size in sizes.items()
        }
        crops = [images[w.file][:, w.box[1] : w.box[3], w.box[0] : w.box[2]] for w in batch]
        for word, text in zip(batch, recognizer.read(crops), strict=True):
            place = next(n for n, upper in enumerate(bounds[1:]) if word.ratio < upper)
            ned = 1 - edit_distance(word.text, text) / max(len(word.text), len(text))
            ranges[place].append((float(word.text == text), ned))
    names = [f'{low:g}_{high:g}' for low, high in pairwise(bounds)]
    if empty := [name for name, found in zip(names, ranges, strict=True) if not found]:
        raise UserError(
            f'no word has a size of {empty[0].replace("_", " to ")} of its image; is --setting {setting} right?'
        )
    values: dict[str, MetricValue] = {}
    for index, (short, what) in enumerate((('t_acc', 'words read exactly'), ('t_ned', '1 - normalized edit distance'))):
        protocol = f'{what}, by {recognizer.name}, of words of TokBench at {setting} pixels'
        means = [100 * sum(each[index] for each in found) / len(found) for found in ranges]
        preset = 'tokbench'
        values[short] = MetricValue(
            sum(means) / len(means), '%', f'{protocol}; mean over ranges of size', len(counted), preset=preset
        )
        for name, mean, found in zip(names, means, ranges, strict=True):
            size = f'{protocol}, size {name.replace("_", " to ")} of the image'
            values[f'{short}_{name}'] = MetricValue(mean, '%', size, len(found), preset=preset)
    return values


def open_image(path: Path, size: tuple[int, int]) -> Tensor:
    """An image as uint8 (3, H, W); raises if it has another size than its annotations."""
    image = read_image(path, 1, MAX_SIDE)
    if image.size[::-1] != size:
        raise UserError(
            f'{path} is {image.width}x{image.height}, its annotations are of {size[1]}x{size[0]}; resize reconstructions to '
            'the size of the originals.'
        )
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)
