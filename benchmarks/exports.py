#!/usr/bin/env python
"""Size and speed of every export format of a tokenizer against FVQ itself, on a CPU.

By default an untrained VQGAN (f = 8, 32 channels, attention at the coarsest level, 1,024 codes of 64 channels), which costs the
same as a trained one. Each format encodes and decodes the same crops of the bundled photos; they take turns, and times are
medians over the rounds, after one warm-up round. `encode` and `decode` are images per second relative to FVQ.

    python benchmarks/exports.py --json
    python benchmarks/exports.py --tokenizer my_tokenizer --side 256 --batch 1
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from fvq.exports.compare import crops
from fvq.exports.diffusers_folder import LoadedFolder
from fvq.exports.formats import export_diffusers, export_graphs
from fvq.exports.graphs import Sizes
from fvq.exports.onnx_files import LoadedModels
from fvq.exports.torch_files import LoadedPrograms
from fvq_core.autoencoder import Autoencoder
from fvq_core.codes import Codes
from fvq_core.errors import UserError
from fvq_core.registry import TOKENIZERS

HALF = dict(ch=32, ch_mult=(1, 1, 2, 2), num_res_blocks=1, z_channels=64, norm_groups=8)
VQGAN = dict(
    type='Tokenizer',
    encoder=dict(type='VQGANEncoder', **HALF),
    quantizer=dict(type='VectorQuantizer', codebook_size=1024, code_dim=64),
    decoder=dict(type='VQGANDecoder', **HALF),
)

FORMATS = ('torch', 'torch, half', 'onnx', 'onnx, half', 'diffusers')


class Own:
    """FVQ itself, in PyTorch."""

    def __init__(self, autoencoder: Autoencoder) -> None:
        self.autoencoder = autoencoder

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        return self.autoencoder.encode(images).unflatten()

    def decode(self, given: torch.Tensor) -> torch.Tensor:
        layout = self.autoencoder.layout(*[side * self.autoencoder.downsample_factor for side in given.shape[1:3]])
        return self.autoencoder.decode(Codes(given.flatten(1), layout))


def exported(
    autoencoder: Autoencoder, folder: Path, formats: Sequence[str]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """What runs each format, and its size and figures; a format that cannot hold the tokenizer says why."""
    make: dict[str, tuple[Callable[[Path], Any], Callable[[Path], Any]]] = {
        'torch': (lambda out: export_graphs(autoencoder, out, 'torch', allow=True), LoadedPrograms),
        'torch, half': (lambda out: export_graphs(autoencoder, out, 'torch', half=True, allow=True), LoadedPrograms),
        'onnx': (lambda out: export_graphs(autoencoder, out, 'onnx', allow=True), LoadedModels),
        'onnx, half': (lambda out: export_graphs(autoencoder, out, 'onnx', half=True, allow=True), LoadedModels),
        'diffusers': (lambda out: export_diffusers(autoencoder, out, allow=True), LoadedFolder),
    }
    runners: dict[str, Any] = {'fvq': Own(autoencoder)}
    autoencoder.save_pretrained(folder / 'fvq')
    rows = {'fvq': dict(megabytes=size(folder / 'fvq'))}
    for number, name in enumerate(formats):
        (export, load), out = make[name], folder / str(number)
        try:
            found = export(out)
        except UserError as error:
            rows[name] = dict(refused=str(error))
            continue
        runners[name] = load(out)
        rows[name] = dict(megabytes=size(out), **found.facts())
    return runners, rows


def size(folder: Path) -> float:
    return round(sum(path.stat().st_size for path in folder.iterdir()) / 1e6, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--tokenizer', help='a saved tokenizer; default: an untrained VQGAN')
    parser.add_argument('--side', type=int, default=128, help='image size in pixels; default %(default)s')
    parser.add_argument('--batch', type=int, default=4, help='images per batch; default %(default)s')
    parser.add_argument('--formats', nargs='+', choices=FORMATS, default=FORMATS, help='export formats; default: all')
    parser.add_argument('--rounds', type=int, default=5, help='measured rounds; default %(default)s')
    parser.add_argument('--json', action='store_true', help='print JSON instead of lines')
    args = parser.parse_args()
    torch.manual_seed(0)
    source = args.tokenizer
    autoencoder = (Autoencoder.from_pretrained(source) if source else TOKENIZERS.build(VQGAN)).eval().fold()
    images = (
        next(crops(autoencoder, Sizes.of(autoencoder, (args.side, args.side))))
        .expand(args.batch, -1, -1, -1)
        .contiguous()
    )
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        runners, rows = exported(autoencoder, Path(folder), args.formats)
        codes = runners['fvq'].encode(images)
        calls = {'encode': images, 'decode': codes}
        taken: dict[tuple[str, str], list[float]] = {(name, half): [] for name in runners for half in calls}
        for _ in range(args.rounds + 1):
            for name, runner in runners.items():
                for half, given in calls.items():
                    start = time.perf_counter()
                    getattr(runner, half)(given)
                    taken[name, half].append(time.perf_counter() - start)
    medians = {key: statistics.median(times[1:]) for key, times in taken.items()}
    for name in runners:
        rows[name] |= {half: round(medians['fvq', half] / medians[name, half], 2) for half in calls}
    machine = dict(
        processor=platform.processor() or platform.machine(), threads=torch.get_num_threads(), torch=torch.__version__
    )
    seconds = {half: round(medians['fvq', half], 4) for half in calls}
    settings = dict(side=args.side, batch=args.batch, rounds=args.rounds, seconds_of_fvq=seconds)
    if args.json:
        print(json.dumps(dict(rows=rows, machine=machine, **settings), indent=2))
        return
    for name, row in rows.items():
        print(
            f'{name:12}',
            *(f'{key} {row[key]}' for key in ('megabytes', *calls, 'different', 'pixels', 'refused') if key in row),
        )
    print(machine, settings)


if __name__ == '__main__':
    main()
