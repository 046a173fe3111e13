#!/usr/bin/env python
"""How do K and usage alone affect a generator? Adds codes to a trained codebook without changing its reconstructions.

The tokenizers of a benchmark's runs are the start. Each gets variants with the same encoder and decoder:
    trained     as it is
    dead N      N times the codes; the new ones lie where no latent is: usage falls to 1/N of what it was
    split N     N codes close around each trained one: K grows N times, and so does what is used

Which of the split codes a latent gets depends on digits that the decoder hardly sees: up to log2(N) bits a code that it does
not need. They are a function of the image, so a generator may predict some of them. Each variant gets a small generator as
`tools/benchmark.py --generator` trains it, on codes of the same crops.

    tools/benchmark.py configs/mini/q5/sweep.py --seeds 0 1
    python benchmarks/extra_codes.py configs/mini/q5/sweep.py --row codes_256_fvq --seeds 0 1
"""

from __future__ import annotations

import argparse
import copy
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fvq_core.config.key_value import KeyValueAction
from fvq_core.errors import UserError
from fvq_core.files.json import read_json, read_json_object, write_json
from fvq_core.images import from_uint8
from fvq_core.registry import QUANTIZERS
from fvq_core.tokenizer import Tokenizer
from fvq_eval.benchmark.generator_data import drawn_crops
from fvq_eval.benchmark.generator_stage import FOLDER as GENERATOR_FOLDER
from fvq_eval.benchmark.generator_stage import GeneratorStage
from fvq_eval.benchmark.rows import read_rows, trainable
from fvq_eval.benchmark.run import FINISHED, GENERATOR, RESULT, BenchmarkRun, run_folder
from fvq_quantizers.normalizations import NoNormalization
from fvq_quantizers.vector_quantizer import VectorQuantizer

VARIANTS = {'trained': None, **{f'{kind} {copies}': (kind, copies) for kind in ('dead', 'split') for copies in (4, 16)}}
CROPS = 512  # for PSNR and usage
FAR = 4.0  # times the codebook's radius: how far from its center dead codes lie
NEAR = 0.01  # of the distance to the nearest code: how far split codes lie from the one that they stand for
COLUMNS = ('K', 'psnr', 'usage', 'unigram_bits_per_image', 'generator_bits_per_image', 'generator_gain')
KIDS = ('kid_of_samples', 'kid_of_reconstructions')


def more_codes(codes_KD: Tensor, kind: str, copies: int, seed: int = 0) -> Tensor:
    """A codebook (copies K, D) that quantizes as the trained one, whose code k is at k modulo K of it."""
    K, D = codes_KD.shape
    count = K * (copies - 1 if kind == 'dead' else copies)
    directions_ND = torch.randn(count, D, generator=torch.Generator().manual_seed(seed)).to(codes_KD)
    directions_ND /= directions_ND.norm(dim=1, keepdim=True)
    if kind == 'dead':
        center_D = codes_KD.mean(0)
        radius = (codes_KD - center_D).norm(dim=1).max()
        return torch.cat([codes_KD, center_D + FAR * radius * directions_ND])
    nearest_K1 = torch.cdist(codes_KD, codes_KD).fill_diagonal_(torch.inf).min(1, keepdim=True).values
    return codes_KD.repeat(copies, 1) + NEAR * nearest_K1.repeat(copies, 1) * directions_ND


@torch.no_grad()
def with_more_codes(tokenizer: Tokenizer, kind: str, copies: int) -> Tokenizer:
    """A copy of a folded tokenizer with a larger codebook."""
    made, old = copy.deepcopy(tokenizer), tokenizer.quantizer
    if type(old) is not VectorQuantizer or type(old.normalize) is not NoNormalization:
        raise UserError('extra_codes: needs tokenizers with a VectorQuantizer, without normalization.')
    codes_KD = more_codes(old.codebook(), kind, copies)
    made.quantizer = QUANTIZERS.build({**old.component_config, 'codebook_size': len(codes_KD)}).eval()
    made.quantizer.embedding.copy_(codes_KD)
    return made


@torch.inference_mode()
def reconstruct(tokenizer: Tokenizer, crops_NCHW: Tensor) -> dict[str, float]:
    """K, mean PSNR of crops in dB, and usage in per cent."""
    codes, psnr = [], []
    for part in crops_NCHW.split(32):
        images = from_uint8(part)
        output = tokenizer(images)
        error_B = ((output.reconstruction.clamp(-1, 1) - images) / 2).square().mean((1, 2, 3))
        psnr.append(-10 * error_B.log10())
        codes.append(output.codes.indices_BL)
    K = tokenizer.quantizer.codebook_size
    return dict(K=K, psnr=float(torch.cat(psnr).mean()), usage=100 * torch.cat(codes).unique().numel() / K)


def measure(run: BenchmarkRun, stage: GeneratorStage, out: Path) -> dict[str, Any]:
    """The numbers of all variants of a run's tokenizer; those that are there are read again."""
    tokenizer = Tokenizer.from_pretrained(run.folder / 'tokenizer')
    crops = drawn_crops(run.cfg.val_dataloader.dataset, CROPS)
    found = {}
    for name, change in VARIANTS.items():
        made = tokenizer if change is None else with_more_codes(tokenizer, *change)
        folder = run_folder(out / run.row, name.replace(' ', '_'), run.factor, run.seed)
        save(made, folder)
        write_json(folder / RESULT, {'status': FINISHED})
        variant = BenchmarkRun(name, run.factor, run.seed, folder, run.source, run.cfg)
        stage.run(variant, {}, print)
        result = stage.result(variant)
        if result is None:
            raise UserError(f'extra_codes: {name}: {variant.generator_failure}')
        values = {key: metric['value'] for key, metric in result['metrics'].items()}
        found[name] = {**reconstruct(made, crops), **values}
    return found


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Write a tokenizer into the folder of a run; what was measured there of another one goes."""
    config = folder / 'tokenizer/config.json'
    before = read_json(config)
    tokenizer.save_pretrained(folder / 'tokenizer')
    if before and before['weights_digest'] != read_json_object(config)['weights_digest']:
        shutil.rmtree(folder / GENERATOR_FOLDER, ignore_errors=True)
        (folder / GENERATOR).unlink(missing_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').split('\n')[0])
    parser.add_argument('config', help='config of the benchmarked row')
    parser.add_argument('--row', help='name of the row, if the config is a sweep')
    parser.add_argument(
        '--runs', type=Path, default=Path('work_dirs/benchmark'), help='work dir of the benchmark; default %(default)s'
    )
    parser.add_argument(
        '--factor', type=float, default=1.0, help='learning-rate factor of its runs; default %(default)s'
    )
    parser.add_argument('--seeds', type=int, nargs='+', default=[0], help='random seeds of its runs; default 0')
    parser.add_argument('--steps', type=int, default=400, help='training steps per generator; default %(default)s')
    parser.add_argument('--extractor', default='RandomFeatures', help='feature extractor; default %(default)s')
    parser.add_argument('--extractor-options', nargs='+', action=KeyValueAction, default={}, help='its arguments')
    parser.add_argument(
        '--cfg-options', nargs='+', action=KeyValueAction, default={}, help='config overrides of that benchmark'
    )
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/extra_codes'), help='output folder; default %(default)s'
    )
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')
    args = parser.parse_args()
    rows = [each for each in trainable(read_rows([args.config], args.cfg_options)) if args.row in (None, each[0].name)]
    if len(rows) != 1:
        parser.error(f'{args.config} has {len(rows)} rows of that name; give one with --row')
    (row, cfg) = rows[0]
    stage = GeneratorStage(args.steps, {'type': args.extractor, **args.extractor_options})
    results = {}
    for seed in args.seeds:
        folder = run_folder(args.runs, row.key, args.factor, seed)
        results[seed] = measure(BenchmarkRun(row.key, args.factor, seed, folder, row.source, cfg), stage, args.out)
    if args.json:
        print(json.dumps(results))
        return
    print(f'{"":12}', *(f'{name:>24}' for name in (*COLUMNS, *KIDS)))
    for seed, variants in results.items():
        for name, values in variants.items():
            print(f'{name:9} {seed:2}', *(f'{values[column]:24.3f}' for column in (*COLUMNS, *KIDS)))


if __name__ == '__main__':
    main()
