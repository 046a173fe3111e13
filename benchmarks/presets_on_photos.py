#!/usr/bin/env python
"""How much PSNR and SSIM of the same model differ between presets, on the ten bundled photos.

The model is a stand-in that any machine can repeat: it averages 2x2 pixels and enlarges them again by bicubic interpolation,
about what a tokenizer of 20 to 30 dB loses. The photos are saved as PNG files at full size, and each preset takes its own
crops. With `--crop strict` all presets see the same crops, so that what is left is rounding, color, window and range.

    python benchmarks/presets_on_photos.py
    python benchmarks/presets_on_photos.py --crop strict
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from fvq_core.autoencoder import AutoencoderOutput
from fvq_core.codes import CodeLayout, Codes, Grid
from fvq_core.data.image_folder import ImageFolder
from fvq_core.data.photos import load_photos
from fvq_core.metric import MetricValue
from fvq_core.quantizer import QuantizerOutput
from fvq_eval.metrics.psnr import psnr
from fvq_eval.metrics.rounding import truncated_levels
from fvq_eval.presets import PRESETS
from fvq_eval.presets.jpeg_codec import jpeg
from fvq_eval.reconstruction import PresetEvaluator

COLUMNS = ('psnr', 'psnr_y', 'ssim', 'ms_ssim')


class Halved(nn.Module):
    """As much of a tokenizer as an evaluation reads, with one code that it always chooses."""

    downsample_factor = 2

    def __init__(self) -> None:
        super().__init__()
        self.codebook_KD = nn.Parameter(torch.zeros(1, 1))
        codes = dict(codebook=lambda: self.codebook_KD, code_dim=1, rows=lambda codes: codes.indices_BL)
        self.quantizer: Any = SimpleNamespace(**codes)

    def forward(self, images_BCHW: Tensor) -> AutoencoderOutput:
        small = F.avg_pool2d(images_BCHW, 2)
        enlarged = F.interpolate(small, scale_factor=2, mode='bicubic', align_corners=False)
        codes = Codes(torch.zeros(len(images_BCHW), 1, dtype=torch.int64), CodeLayout(Grid(1, 1), 1))
        return AutoencoderOutput(enlarged, quantized=QuantizerOutput(small, codes, None))


def evaluate(crop: str | None) -> dict[str, MetricValue]:
    """Every preset's numbers over the photos."""
    presets = [preset.at(samples=len(load_photos())) for preset in PRESETS.values()]
    if crop is not None:
        presets = [replace(preset, crop=PRESETS[crop].crop) for preset in presets]
    with tempfile.TemporaryDirectory() as folder:
        for name, photo in load_photos().items():
            Image.fromarray(photo).save(Path(folder, f'{name}.png'))
        evaluator = PresetEvaluator(presets, extractor=False, lpips_weights=folder)  # no trained network takes part
        return evaluator.evaluate(Halved(), ImageFolder(folder), batch_size=5)  # type: ignore[arg-type]  # has all that is asked of a tokenizer


def codec_loss() -> float:
    """Mean PSNR in dB of the middle 256x256 pixels of each photo and their JPEG: what the codec alone loses."""
    scores = []
    for photo in load_photos().values():
        top, left = ((side - 256) // 2 for side in photo.shape[:2])
        pixels = torch.from_numpy(photo[top : top + 256, left : left + 256].copy()).permute(2, 0, 1)[None]
        scores.append(psnr(pixels, jpeg(pixels)).item())
    return sum(scores) / len(scores)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--crop', choices=list(PRESETS), help='use the crops of this preset for all presets')
    args = parser.parse_args()

    torch.set_num_threads(1)
    values = evaluate(args.crop)
    print(f'| preset | {" | ".join(COLUMNS)} |\n|{"---|" * (len(COLUMNS) + 1)}')
    for name in PRESETS:
        cells = [values.get(f'{name}/{column}') for column in COLUMNS]
        if any(cells):
            print(f'| {name} | {" | ".join("-" if cell is None else f"{cell.value:.4g}" for cell in cells)} |')
    lost = torch.arange(256) - truncated_levels()
    print(f'a JPEG of default quality against its original: {codec_loss():.1f} dB')
    print(f'levels of an 8-bit original that cutting off lowers by one: {int(lost.sum())} of 256')


if __name__ == '__main__':
    main()
