"""How much of faces survives a tokenizer: F-Sim."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.metric import MetricValue

from .annotations import MAX_SIDE, Annotation, cut_images, read_annotations
from .face_alignment import TEMPLATE, face_crop, similarity_transform
from .face_network import FaceNetwork
from .size_ranges import SizeRanges

# For each side that images were resized to: the bounds of the size of a face over that of its image, as released in June 2025.
# The first release, of May, has 0, 0.1, 0.2, 1 and 0, 0.05, 0.2, 1 and 0, 0.05, 0.1, 1.
BOUNDS = {256: (0.1, 0.2, 0.3, 1.0), 512: (0.05, 0.1, 0.2, 1.0), 1024: (0.02, 0.05, 0.1, 1.0)}


@dataclass(frozen=True)
class Face(Annotation):
    """A face of an image: (x, y) of both eyes, the nose and both corners of the mouth, from the centre of the first pixel."""

    landmarks: tuple[tuple[float, float], ...]


def read_faces(path: str | Path) -> list[Face]:
    """The faces of TokBench's `face_meta.json`.

    It is a list of images, `{image_name, img_height, img_width, faces: [{kps, ratio}]}`, with five (x, y) as `kps`.

    Raises:
        UserError: Another file, no face, or landmarks that are no face's, such as all five beyond the image.
    """
    faces = read_annotations(path, 'face', faces_of_image)
    for face in faces:
        if not is_face(face):
            height, width = face.size
            raise UserError(
                f'{path}: the landmarks {face.landmarks} are no face of {face.file}, {width}x{height} pixels, or its size '
                f'{face.ratio} is no number.'
            )
    return faces


def faces_of_image(image: Any) -> Iterator[Face]:
    size = int(image['img_height']), int(image['img_width'])
    for each in image['faces']:
        landmarks = tuple((float(x), float(y)) for x, y in each['kps'])
        yield Face(str(image['image_name']), size, float(each['ratio']), landmarks)


def is_face(face: Face) -> bool:
    """Whether there are five landmarks, one of them in the image at least, that can be brought to the template."""
    height, width = face.size
    bounded = all(abs(each) <= MAX_SIDE for point in face.landmarks for each in point)
    inside = any(0 <= x < width and 0 <= y < height for x, y in face.landmarks)
    if not (bounded and inside and len(face.landmarks) == len(TEMPLATE) and math.isfinite(face.ratio)):
        return False
    return abs(similarity_transform(face.landmarks)[0]) > 1 / MAX_SIDE


def score_faces(
    folder: str | Path,
    originals: str | Path,
    faces: Sequence[Face],
    network: FaceNetwork,
    setting: int = 256,
    batch_size: int = 64,
) -> dict[str, MetricValue]:
    """`f_sim`, in [-1, 1], of each range of sizes and as the mean over the ranges.

    It is the cosine similarity of the network's embeddings of a face in the reconstruction and in the original, both cut out at
    the landmarks of the original. Faces of other sizes than the ranges of the `setting` do not count, and each range weighs
    the same, as released.

    Args:
        folder: Reconstructions, by the names and in the sizes of the annotations, as `originals`.
        setting: The side that images were resized to before they were reconstructed.

    Raises:
        UserError: An image is missing or of another size, or a range has no face.
    """
    ranges = SizeRanges(setting, BOUNDS[setting])
    counted = ranges.counted(faces, 'face')
    pairs = zip(*(cut_images(each, counted, aligned) for each in (folder, originals)), strict=True)
    similarities: list[float] = []
    while batch := [*islice(pairs, batch_size)]:
        reconstructed, original = (network.embed(each) for each in zip(*batch, strict=True))
        similarities += F.cosine_similarity(reconstructed, original).tolist()
    protocol = f'cosine similarity of embeddings, by {network.name}, of faces of TokBench at {setting} pixels'
    return ranges.means('f_sim', similarities, counted, '', protocol)


def aligned(image_CHW: Tensor, face: Face) -> Tensor:
    return face_crop(image_CHW, face.landmarks)
