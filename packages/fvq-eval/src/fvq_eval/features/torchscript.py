"""A local TorchScript file as features, for networks that no registry knows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.losses.perceptual.weights import MissingWeightsError
from fvq_core.registry import FEATURE_EXTRACTORS

from .backbone import check_hash
from .feature_extractor import FeatureExtractor


@FEATURE_EXTRACTORS.register_module()
class TorchScriptFeatures(FeatureExtractor):
    """One vector an image from a module that `torch.jit.save` wrote. Distances in it are called FD-<name>.

    A TorchScript file is a program, and it is run: without `sha256`, whatever the file holds. Take files that you trust.

    Args:
        path: The file. It maps float32 images (B, 3, H, W) to (B, D).
        name: What distances are called after; by default the name of the file.
        side: Images are resized to this side by antialiased bicubic interpolation; by default they stay as they are.
        mean: Subtracted from pixels in [0, 255], one number or one a channel.
        std: Divided by afterwards.
        sha256: What the file's hash must start with; it is checked before the file is read.

    Raises:
        UserError: A file that is not what it should be, or a name that stands for the published network.
        MissingWeightsError: There is no such file.
    """

    mean_1C11: Tensor
    std_1C11: Tensor

    def __init__(
        self,
        path: str | Path,
        name: str | None = None,
        side: int | None = None,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        sha256: str | None = None,
    ) -> None:
        super().__init__()
        if side is not None and (not isinstance(side, int) or side < 1):
            raise UserError(f'TorchScriptFeatures: expected side in whole pixels, got {side!r}; give such as 224.')
        path = Path(path).expanduser()
        self.name = name or path.stem
        if self.name == 'inception-2015':
            raise UserError("TorchScriptFeatures: 'inception-2015' stands for InceptionV3's weights; rename it.")
        self.network, digest = load_script(type(self).__name__, path, sha256)
        self.side = side
        self.register_buffer('mean_1C11', per_channel('mean', mean))
        self.register_buffer('std_1C11', per_channel('std', std))
        resize = 'as they are' if side is None else f'antialiased bicubic to {side} x {side}'
        self.preprocessing = f'{resize}, mean {mean}, std {std}, file {digest}'  # a frozen module has no state dict
        self.provenance = f'{path.name}, sha256 {digest[:16]}'
        self.freeze()
        self.sizes = {'pool': self.probe(path)}

    def probe(self, path: Path) -> int:
        """Length of the vector."""
        image = torch.zeros(1, 3, self.side or 256, self.side or 256)
        features_BD = call_script('TorchScriptFeatures', path, self.network, image)
        if not isinstance(features_BD, Tensor) or features_BD.ndim != 2 or len(features_BD) != 1:
            raise UserError(f'TorchScriptFeatures: {path} gives no (1, D) for one image.')
        return features_BD.shape[1]

    def extract(self, pixels_BCHW: Tensor) -> dict[str, Tensor]:
        if self.side is not None:
            size = (self.side, self.side)
            pixels_BCHW = F.interpolate(pixels_BCHW, size, mode='bicubic', align_corners=False, antialias=True)
            pixels_BCHW = pixels_BCHW.clamp(0, 255)
        return {'pool': self.network((pixels_BCHW - self.mean_1C11) / self.std_1C11)}


def load_script(owner: str, path: Path, sha256: str | None = None) -> tuple[torch.nn.Module, str]:
    """The module of a TorchScript file, a program that is trusted, and the file's hash; raises on behalf of `owner`."""
    if not path.is_file():
        raise MissingWeightsError(f'{owner}: {path} does not exist.')
    digest = check_hash(path, sha256)
    try:
        return torch.jit.load(path, map_location='cpu'), digest
    except RuntimeError as error:
        reason = ' '.join(str(error).split())[:200]
        raise UserError(f'{owner}: {path} is not a TorchScript file: {reason}') from error


@torch.no_grad()
def call_script(owner: str, name: object, network: torch.nn.Module, pixels: Tensor) -> Any:
    """What the module of a TorchScript file gives for a batch, without gradients; raises on behalf of `owner`."""
    try:
        return network(pixels)
    except RuntimeError as error:
        reason = ' '.join(str(error).split())[-200:]
        raise UserError(f'{owner}: {name} does not take {tuple(pixels.shape)}: {reason}') from error


def per_channel(name: str, value: float | Sequence[float]) -> Tensor:
    """One number, or one a channel, as (1, C, 1, 1)."""
    try:
        numbers = torch.tensor(value, dtype=torch.float32).flatten()
    except (TypeError, ValueError, RuntimeError):
        numbers = torch.empty(0)
    if len(numbers) not in (1, 3) or not numbers.isfinite().all() or (name == 'std' and not numbers.all()):
        divisor = ', none of them 0' if name == 'std' else ''
        raise UserError(
            f'TorchScriptFeatures: expected {name} as one number or one for each of R, G, B{divisor}, got {value!r}; give '
            f'such as {name}=127.5.'
        )
    return numbers.view(1, -1, 1, 1)
