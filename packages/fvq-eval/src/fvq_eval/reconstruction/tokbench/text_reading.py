"""How much text survives a tokenizer: T-ACC and T-NED."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.metric import MetricValue

from .annotations import Annotation, cut_images, read_annotations
from .size_ranges import SizeRanges
from .text_recognizer import TextRecognizer

# For each side that images were resized to: the bounds of the size of a word over that of its image, as released.
BOUNDS = {256: (0.02, 0.03, 0.04, 1.0), 512: (0.01, 0.02, 0.03, 1.0), 1024: (0.005, 0.01, 0.02, 1.0)}


@dataclass(frozen=True)
class Word(Annotation):
    """A word of an image: what it says, and its box (left, top, right, bottom) in pixels."""

    text: str
    box: tuple[int, int, int, int]


def read_words(path: str | Path) -> list[Word]:
    """The words of an annotation file of TokBench.

    It is a list of images, `{file_name, height, width, annotations: [{rec, bbox, ratio}]}`. Boxes are cut to whole pixels.

    Raises:
        UserError: Another file, no word, an empty word, or a box that is not in its image.
    """
    words = read_annotations(path, 'word', words_of_image)
    for word in words:
        (left, top, right, bottom), (height, width) = word.box, word.size
        if not (0 <= left < right <= width and 0 <= top < bottom <= height and word.text and math.isfinite(word.ratio)):
            raise UserError(f"{path}: '{word.text}' of {word.file} has the box {word.box} in {width}x{height} pixels.")
    return words


def words_of_image(image: Any) -> Iterator[Word]:
    size = int(image['height']), int(image['width'])
    for each in image['annotations']:
        left, top, right, bottom = map(int, each['bbox'])
        ratio, text = float(each['ratio']), str(each['rec'])
        yield Word(str(image['file_name']), size, ratio, text, (left, top, right, bottom))


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
    ranges = SizeRanges(setting, BOUNDS[setting])
    counted = ranges.counted(words, 'word')
    crops = cut_images(folder, counted, word_crop)
    accuracies, similarities = [], []
    for start in range(0, len(counted), batch_size):
        batch = counted[start : start + batch_size]
        for word, text in zip(batch, recognizer.read([*islice(crops, len(batch))]), strict=True):
            accuracies.append(100.0 * (word.text == text))
            similarities.append(100 - 100 * edit_distance(word.text, text) / max(len(word.text), len(text)))
    by = f'by {recognizer.name}, of words of TokBench at {setting} pixels'
    return {
        **ranges.means('t_acc', accuracies, counted, '%', f'words read exactly, {by}'),
        **ranges.means('t_ned', similarities, counted, '%', f'1 - normalized edit distance, {by}'),
    }


def word_crop(image_CHW: Tensor, word: Word) -> Tensor:
    left, top, right, bottom = word.box
    return image_CHW[:, top:bottom, left:right]
