"""What the board of the page draws: pictures side by side, with the cells of one plane on them."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from .planes import Plane


def png(pixels: np.ndarray) -> str:
    """uint8 (H, W, 3) as a data address, so that no file is written for it."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'PNG', compress_level=3)
    return 'data:image/png;base64,' + base64.b64encode(buffer.getvalue()).decode('ascii')


def panel(title: str, pixels: np.ndarray, note: str = '', cells: bool = True, crisp: bool = False) -> dict[str, Any]:
    """One picture.

    Args:
        title: Stands above it.
        pixels: uint8 (H, W, 3).
        note: Stands beside the title.
        cells: Whether the cells of the plane lie on it.
        crisp: Whether pixels stay squares when it is enlarged.
    """
    height, width = pixels.shape[:2]
    return dict(title=title, note=note, src=png(pixels), width=width, height=height, cells=cells, crisp=crisp)


def map_panel(plane: Plane, colours_N3: np.ndarray, shape: tuple[int, int], title: str = 'Codes') -> dict[str, Any]:
    """The map of codes, a pixel a cell; on the image it is as wide and high as that, `shape` (H, W).

    Args:
        colours_N3: uint8, of each cell.
    """
    cells = np.zeros((plane.rows * plane.columns, 3), np.uint8)
    cells[: len(plane)] = colours_N3
    found = panel(title, cells.reshape(plane.rows, plane.columns, 3), plane.name, crisp=True)
    height, width = shape if plane.on_image else (plane.rows, plane.columns)
    return found | dict(width=width, height=height)


def board(
    panels: list[dict[str, Any]],
    plane: Plane | None = None,
    codes_N: np.ndarray | None = None,
    columns: int | None = None,
) -> dict[str, Any]:
    """Panels, and the codes of the plane that can be pointed at on them; none without a plane.

    `columns` is how many stand in a row; by default as many as there is room for.
    """
    if plane is None or codes_N is None:
        return dict(panels=panels, plane=None, columns=columns)
    cells = dict(rows=plane.rows, columns=plane.columns, on_image=plane.on_image, codes=codes_N.tolist())
    return dict(panels=panels, plane=cells, columns=columns)
