"""Crops in the way of ADM: an image is halved, resized, and cut. By PIL, which is the reference for every faster one."""

from __future__ import annotations

from typing import Any, NamedTuple

from PIL import Image


class Window(NamedTuple):
    """A crop before any pixel is touched: the image is halved, resized, and cut; sizes are in pixels."""

    halvings: int
    width: int
    height: int
    left: int
    top: int
    size: int


def shrunk_size(width: int, height: int, short_side: int) -> tuple[int, int, int]:
    """Halvings, width and height that bring the short side to `short_side`, keeping the aspect.

    The image is halved while its short side is at least twice too long, then resized.
    """
    halvings = 0
    while min(width, height) >= 2 * short_side:
        width, height, halvings = width // 2, height // 2, halvings + 1
    scale = short_side / min(width, height)
    return halvings, round(width * scale), round(height * scale)


def halved(image: Image.Image, halvings: int) -> Image.Image:
    """An image halved so many times by a box filter."""
    for _ in range(halvings):
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    return image


def cut(image: Any, window: Window) -> Any:
    """The crop of an image of PIL: halvings, then bicubic. A `KeptImage` cuts itself, later and elsewhere."""
    if not isinstance(image, Image.Image):
        return image.cut(window)
    image, size = halved(image, window.halvings), (window.width, window.height)
    if image.size != size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    return image.crop((window.left, window.top, window.left + window.size, window.top + window.size))
