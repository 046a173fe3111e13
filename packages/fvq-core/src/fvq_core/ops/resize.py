"""Pillow's bicubic resize and crop, bit for bit, of many images at once on any device.

Pillow resizes 8-bit images in fixed point: weights of the cubic filter (a = -0.5, widened where an image shrinks), normalised
in double precision and rounded to 22 bits; integer sums along one axis, rounded and clipped to 8 bits, then along the other.
Integers add up to the same in any order, so a GPU gives the same bytes if its weights are the same. They are computed in
float64, one operation at a time, in the order of Pillow's `Resample.c`.
"""

from __future__ import annotations

import math

import PIL
import torch
from torch import Tensor

BITS = 22  # of a weight, behind the binary point
CUBIC = -0.5
PILLOW = int(PIL.__version__.split('.')[0])


def resized_crops(pixels_P: Tensor, windows_B8: Tensor, size: int, scale: float) -> Tensor:
    """Square crops of images, each resized first as by `Image.resize` with `Resampling.BICUBIC`.

    Args:
        pixels_P: uint8, all images one after the other, each (3, H, W) in memory.
        windows_B8: int64, one row a crop: where its image begins in `pixels_P`, H, W, the height and width that it is resized
            to, top and left of the crop in the resized image, and 1 if the crop is mirrored.
        size: Side of the crops.
        scale: The largest H over resized height, or W over resized width, of the batch; 0 if no image is resized.

    Returns:
        uint8 (B, 3, size, size) on the device of `pixels_P`.
    """
    start_1B, sides_2B, resized_2B, corner_2B, mirrored_1B = windows_B8.T.split([1, 2, 2, 2, 1])
    steps_S = torch.arange(size, device=pixels_P.device)
    row_BS, column_BS = (first_B[:, None] + steps_S for first_B in corner_2B)
    column_BS = torch.where(mirrored_1B[0][:, None] > 0, column_BS.flip(1), column_BS)
    wanted_2BS = torch.stack([row_BS, column_BS])
    plane_B3 = start_1B[0][:, None] + sides_2B.prod(0)[:, None] * torch.arange(3, device=pixels_P.device)
    stride_2B = torch.stack([sides_2B[1], torch.ones_like(sides_2B[1])])
    if not scale:
        return cut(pixels_P, plane_B3, stride_2B, wanted_2BS)
    # The second axis is resized first: columns, or rows of the images that Pillow resizes vertically first.
    swapped_B = vertical_first(sides_2B, resized_2B)
    sides_2B, resized_2B, stride_2B = (
        torch.where(swapped_B, pair.flip(0), pair) for pair in (sides_2B, resized_2B, stride_2B)
    )
    wanted_2BS = torch.where(swapped_B[:, None], wanted_2BS.flip(0), wanted_2BS)
    taps = 2 * math.ceil(2 * max(scale, 1.0)) + 1
    index_2BST, weight_2BST = weigh(wanted_2BS, sides_2B, resized_2B, taps)
    # The part of each image that its crop is made of, equally large for all; what lies beyond an image has no weight.
    reach_R = torch.arange(math.ceil(size * scale) + taps + 1, device=pixels_P.device)
    first_2B1 = index_2BST[..., 0].amin(2, keepdim=True)
    part_2BR = (first_2B1 + reach_R).minimum(sides_2B[:, :, None] - 1)
    index_2BST = (index_2BST - first_2B1[..., None]).clamp(max=len(reach_R) - 1)
    x_B3RR = cut(pixels_P, plane_B3, stride_2B, part_2BR)
    x_B3RS = weighted_sums(x_B3RR.int(), index_2BST[1], weight_2BST[1])
    x_B3SS = weighted_sums(x_B3RS.mT, index_2BST[0], weight_2BST[0]).to(torch.uint8)  # axes 1, 0
    return torch.where(swapped_B[:, None, None, None], x_B3SS, x_B3SS.mT)


def vertical_first(sides_2B: Tensor, resized_2B: Tensor) -> Tensor:
    """Whether Pillow resizes rows before columns, bool (B,): since version 13 if the height loses over twice as many pixels
    as the width, before only for images over a hundred times as high as wide."""
    height_B, width_B = sides_2B
    lost_B, lost_in_width_B = sides_2B - resized_2B
    return (lost_B > 0) & (lost_B > 2 * lost_in_width_B if PILLOW >= 13 else height_B > 100 * width_B)


def cut(pixels_P: Tensor, plane_B3: Tensor, stride_2B: Tensor, wanted_2BR: Tensor) -> Tensor:
    """Pixels of images, (B, 3, R, R), by their indices along both axes."""
    one_BR, other_BR = wanted_2BR * stride_2B[:, :, None]
    return pixels_P[plane_B3[:, :, None, None] + one_BR[:, None, :, None] + other_BR[:, None, None, :]]


def weigh(wanted_2BS: Tensor, sides_2B: Tensor, resized_2B: Tensor, taps: int) -> tuple[Tensor, Tensor]:
    """For pixels of resized axes the pixels that they are made of, int64 (2, B, S, T), and their int32 weights."""
    scale = (sides_2B.double() / resized_2B)[:, :, None]
    stretch = scale.clamp(min=1.0)
    support, centre = 2.0 * stretch, (wanted_2BS + 0.5) * scale
    first = (centre - support + 0.5).long().clamp(min=0)
    end = (centre + support + 0.5).long().minimum(sides_2B[:, :, None])
    index = first[..., None] + torch.arange(taps, device=wanted_2BS.device)
    x = ((index - centre[..., None] + 0.5) * (1.0 / stretch)[..., None]).abs()
    near = ((CUBIC + 2.0) * x - (CUBIC + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * CUBIC
    weight = torch.where(x < 1.0, near, torch.where(x < 2.0, far, 0.0))
    weight = torch.where(index < end[..., None], weight, 0.0)
    total = torch.zeros_like(centre)
    for tap in weight.unbind(-1):  # one after the other, as Pillow adds them
        total = total + tap
    weight = weight / total[..., None] * 2**BITS
    return index, (weight + torch.where(weight < 0, -0.5, 0.5)).int()


def weighted_sums(x_B3RC: Tensor, index_BST: Tensor, weight_BST: Tensor) -> Tensor:
    """Weighted sums along the last axis in fixed point, int32 (B, 3, R, S), rounded and in [0, 255]."""
    B, channels, R, _ = x_B3RC.shape
    total = torch.full((B, channels, R, index_BST.shape[1]), 1 << (BITS - 1), dtype=torch.int32, device=x_B3RC.device)
    for index_BS, weight_BS in zip(index_BST.unbind(-1), weight_BST.unbind(-1), strict=True):
        index = index_BS[:, None, None, :].expand(-1, channels, R, -1)
        total.addcmul_(x_B3RC.gather(3, index), weight_BS[:, None, None, :])
    return (total >> BITS).clamp_(0, 255)
