"""Faces cut out upright, as ArcFace networks see them (Deng et al., 2019): five landmarks, one similarity transform."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 112
# Where insightface puts eyes, nose and corners of the mouth in its crops of 112 x 112 pixels: (x, y) from the centre of the
# first pixel, left to right as seen.
TEMPLATE = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))


def similarity_transform(
    points: Sequence[tuple[float, float]], targets: Sequence[tuple[float, float]] = TEMPLATE
) -> tuple[complex, complex]:
    """a and b that bring a z + b, z = x + iy of the points, closest to the targets in the sum of squares.

    In the plane this is Umeyama's transform (1991, eq. 40 to 42): |a| scales, the angle of a turns, b moves; nothing is
    mirrored. a is 0 if the points are all the same.
    """
    z, w = (np.array([complex(x, y) for x, y in each]) for each in (points, targets))
    deviations = z - z.mean()
    squares = np.vdot(deviations, deviations)
    a = complex(np.vdot(deviations, w - w.mean()) / squares) if squares else 0j
    return a, complex(w.mean()) - a * complex(z.mean())


def face_crop(image_CHW: Tensor, landmarks: Sequence[tuple[float, float]]) -> Tensor:
    """The face of a uint8 image with its landmarks at those of the template, uint8 (3, 112, 112).

    Bilinear without antialiasing, black beyond the image, rounded to whole values.
    """
    a, b = similarity_transform(landmarks)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    places = (columns + 1j * rows - b) / a  # of the image, for each pixel of the crop
    height, width = image_CHW.shape[1:]
    grid = np.stack([(2 * places.real + 1) / width - 1, (2 * places.imag + 1) / height - 1], axis=2)
    pixels = F.grid_sample(image_CHW[None].float(), torch.from_numpy(grid)[None].float(), align_corners=False)
    return pixels[0].round().to(torch.uint8)
