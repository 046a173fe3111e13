"""A network of yours that tells faces apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from fvq_core.errors import UserError

from ...features.torchscript import call_script, load_script

MEAN = STD = 127.5  # of insightface's glintr100


class FaceNetwork:
    """A TorchScript network from aligned faces, float32 (B, 3, 112, 112) in RGB and [-1, 1], to embeddings (B, D).

    A TorchScript file is a program, and it is run: take files that you trust.

    Args:
        path: The file, such as insightface's `glintr100` of `antelopev2`, which TokBench takes, made a TorchScript file.
    """

    def __init__(self, path: str | Path, device: torch.device | str = 'cpu') -> None:
        file = Path(path).expanduser()
        self.network, digest = load_script('FaceNetwork', file)
        self.name = f'{file.name} ({digest[:12]})'
        self.network.eval().to(device)
        self.device = device

    def embed(self, faces: Sequence[Tensor]) -> Tensor:
        """Embeddings (B, D) of aligned faces, uint8 (3, 112, 112)."""
        pixels = ((torch.stack([*faces]).float() - MEAN) / STD).to(self.device)
        embeddings = call_script('FaceNetwork', self.name, self.network, pixels)
        if not isinstance(embeddings, Tensor) or embeddings.ndim != 2 or len(embeddings) != len(faces):
            given = tuple(embeddings.shape) if isinstance(embeddings, Tensor) else type(embeddings).__name__
            raise UserError(f'FaceNetwork: expected embeddings ({len(faces)}, D) of {self.name}, got {given}.')
        if not embeddings.isfinite().all():
            raise UserError(f'FaceNetwork: {self.name} gives embeddings that are not finite; is it the right file?')
        return embeddings.double().cpu()
