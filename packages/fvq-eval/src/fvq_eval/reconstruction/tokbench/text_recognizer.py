"""A network of yours that reads words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.errors import UserError

from ...features.torchscript import call_script, load_script

MEAN, STD = (0.694, 0.695, 0.693), (0.299, 0.296, 0.301)  # of docTR's PARSeq


class TextRecognizer:
    """A TorchScript network that reads a word: float32 (B, 3, H, W), normalized, to logits (B, T, C).

    The most probable class of each of T places is a character, in the order of `characters`; the first class behind those ends
    the word. A TorchScript file is a program, and it is run: take files that you trust.

    Args:
        path: The file, such as docTR's `parseq`, traced with `exportable=True`, whose vocabulary is `VOCABS['french']`.
        characters: The characters, in the order of the classes.
        size: H and W. A crop keeps its proportions, is resized bilinearly to fit, and padded with black to the right or below.
        mean, std: Of pixels in [0, 1]; docTR's by default.
    """

    def __init__(
        self,
        path: str | Path,
        characters: str,
        size: tuple[int, int] = (32, 128),
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        device: torch.device | str = 'cpu',
    ) -> None:
        if not characters or len({*characters}) != len(characters):
            raise UserError('TextRecognizer: expected characters in the order of the classes, each once.')
        file = Path(path).expanduser()
        self.network, digest = load_script('TextRecognizer', file)
        self.name = f'{file.name} ({digest[:12]})'
        self.network.eval().to(device)
        self.characters, self.size, self.device = characters, size, device
        self.mean_C11, self.std_C11 = (torch.tensor(each)[:, None, None] for each in (mean, std))

    def prepare(self, crop_CHW: Tensor) -> Tensor:
        """A uint8 crop as the network takes it, (3, H, W)."""
        (height, width), (h, w) = self.size, crop_CHW.shape[1:]
        upright = h / w > height / width
        fitted = (height, max(int(height / (h / w)), 1)) if upright else (max(int(width * (h / w)), 1), width)
        pixels = F.interpolate(crop_CHW[None].float() / 255, fitted, mode='bilinear', antialias=True)[0]
        padded = F.pad(pixels, (0, width - fitted[1], 0, height - fitted[0]))
        return (padded - self.mean_C11) / self.std_C11

    def read(self, crops: Sequence[Tensor]) -> list[str]:
        """What crops (3, h, w), uint8, say."""
        pixels = torch.stack([self.prepare(crop) for crop in crops]).to(self.device)
        logits = call_script('TextRecognizer', self.name, self.network, pixels)
        end = len(self.characters)
        if (
            not isinstance(logits, Tensor)
            or logits.ndim != 3
            or logits.shape[0] != len(crops)
            or logits.shape[2] <= end
        ):
            given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise UserError(
                f'TextRecognizer: expected logits ({len(crops)}, T, {end + 1} or more) for {end} characters and an end, got '
                f'{given}; are these the characters of this network?'
            )
        return [self.word(row) for row in logits.argmax(2).tolist()]

    def word(self, classes: Sequence[int]) -> str:
        """The characters before the first class that is none."""
        ends = [place for place, each in enumerate(classes) if each >= len(self.characters)]
        return ''.join(self.characters[each] for each in classes[: ends[0] if ends else None])
