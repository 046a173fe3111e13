#!/usr/bin/env python
"""The paper's claim on ten real photos: rows x seeds with identical encoder, data, steps; a table of what came out.

    python benchmarks/photos_ablation.py --seeds 0 1 2

Each row is a config under configs/. Runs go to work_dirs/photos_ablation/ROW-SEED; one that is finished is not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPO = Path(__file__).parents[1]
ROWS = {
    'fvq': 'configs/fvq/fvq_photos.py',
    'vq': 'configs/photos/vq.py',
    'linear': 'configs/photos/linear.py',
    'mlp5': 'configs/photos/mlp5.py',
    'vq_tuned': 'configs/photos/vq_tuned.py',
    'fvq_no_anneal': 'configs/photos/fvq_no_anneal.py',
    'vq_no_anneal': 'configs/photos/vq_no_anneal.py',
    'linear_no_anneal': 'configs/photos/linear_no_anneal.py',
    'mlp5_no_anneal': 'configs/photos/mlp5_no_anneal.py',
}
COLUMNS = {
    'usage': 'usage %',
    'usage_window': 'usage, training window %',
    'perplexity': 'perplexity',
    'psnr': 'PSNR dB',
    'relative_quantization_error': 'D(P_z, C)/var(z)',
}


def run(row: str, seed: int, out: Path, options: list[str], threads: int) -> None:
    """Train one row with one seed, unless its numbers are there."""
    work_dir = out / f'{row}-{seed}'
    if (work_dir / 'metrics.json').exists():
        return
    work_dir.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        str(REPO / 'tools/train.py'),
        ROWS[row],
        '--work-dir',
        str(work_dir),
        '--seed',
        str(seed),
    ]
    command += ['--resume', '--cfg-options', *options] if options else ['--resume']
    env = {**os.environ, 'OMP_NUM_THREADS': str(threads)}
    with open(work_dir / 'log.txt', 'w') as log:
        done = subprocess.run(command, cwd=REPO, env=env, stdout=log, stderr=subprocess.STDOUT, check=False)
    print(f'{row} seed {seed}: {"done" if done.returncode == 0 else f"failed, see {log.name}"}', flush=True)


def table(rows: list[str], seeds: list[int], out: Path) -> str:
    """Mean over seeds, and each seed in brackets, as Markdown."""
    lines = ['| row | seeds | ' + ' | '.join(COLUMNS.values()) + ' |', '|---' * (len(COLUMNS) + 2) + '|']
    for row in rows:
        found = [out / f'{row}-{seed}' / 'metrics.json' for seed in seeds]
        documents = [json.loads(path.read_text())['metrics'] for path in found if path.exists()]
        if not documents:
            continue
        cells = []
        for column in COLUMNS:
            values = [document[column]['value'] for document in documents]
            each = ', '.join(f'{value:.4g}' for value in values)
            cells.append(f'**{statistics.mean(values):.4g}** ({each})')
        lines.append(f'| {row} | {len(documents)} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rows', nargs='+', choices=ROWS, default=list(ROWS))
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument('--out', type=Path, default=REPO / 'work_dirs' / 'photos_ablation')
    parser.add_argument('--jobs', type=int, default=2, help='runs at a time')
    parser.add_argument('--threads', type=int, default=1, help='threads of each run')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='for every run alike')
    args = parser.parse_args()
    out = args.out.resolve()
    with ThreadPoolExecutor(args.jobs) as pool:
        for seed in args.seeds:
            for row in args.rows:
                pool.submit(run, row, seed, out, args.cfg_options, args.threads)
    text = table(args.rows, args.seeds, out)
    (out / 'table.md').write_text(text + '\n')
    print(text)


if __name__ == '__main__':
    main()
