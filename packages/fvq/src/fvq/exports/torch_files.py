"""`encode.pt2` and `decode.pt2`, which `torch.export.load` reads."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.export import ExportedProgram

from .files import KEY
from .programs import HALVES

SUFFIX = '.pt2'


def write(programs: dict[str, ExportedProgram], folder: Path, facts: str | None = None) -> None:
    """The files of both programs, with facts in their metadata."""
    for name, program in programs.items():
        extra: Any = {} if facts is None else {f'{KEY}.json': facts}
        torch.export.save(program, folder / f'{name}{SUFFIX}', extra_files=extra)


class LoadedPrograms:
    """Both programs, read from a folder."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            # So torch reads weights, and nobody writes to them.
            warnings.filterwarnings('ignore', 'The given buffer is not writable')
            modules = [torch.export.load(folder / f'{name}{SUFFIX}').module() for name in HALVES]
        self.encode_images, self.decode_codes = modules

    def encode(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.encode_images(images))

    def decode(self, given: Tensor) -> Tensor:
        return cast(Tensor, self.decode_codes(given))
