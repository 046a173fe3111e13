#!/usr/bin/env python
"""Speed of evaluation against torch-fidelity, SciPy and files on a CPU, side by side in one run.

`frechet`: from means and covariances to the distance, with nothing prepared. `ratio` is torch-fidelity's time over ours,
`ratio_scipy` that of SciPy's `sqrtm`; `_prepared` is where the reference is compared with another set once more.
`ratio_limit` is our time over that of LAPACK's eigenvalues.

`precision_recall`: from features to both numbers; `ratio` is torch-fidelity's time over ours, `ratio_plain` that of plain
float32 products over ours, which are of bytes on a CPU with instructions for them.

`kernel`: from features to the KID of all images; `ratio` is the time of one float64 matrix of all pairs over ours.

`one_pass`: see one_pass.py, which `ratio` and `ratio_with_ssim` are from.

The first two print the numbers, too. `cpu_ratio` is of the processor's seconds, for a machine where other programs run.
Features are random and shaped like pooled ones of a trained network: never negative, most of the spread in few directions;
`_even` is of features that spread alike in all directions, the hardest case for precision and recall.

    python benchmarks/evaluation.py --json
    python benchmarks/evaluation.py --size 2000 512      # a quick look
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from one_pass import compare_ways
from scipy import linalg
from torch import Tensor
from torch_fidelity.metric_fid import fid_statistics_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from fvq_eval.distances import frechet_distance, kernel_distance_of_all, precision_recall
from fvq_eval.distances.precision_recall import inside_by_blocks
from fvq_eval.statistics.moments import Gaussian


def features(count: int, dim: int, seed: int, even: bool = False) -> Tensor:
    """Never negative; of one spread in all directions, or of one that falls with the square root of their number."""
    rng = torch.Generator().manual_seed(seed)
    x_ND = torch.randn(count, dim, generator=rng)
    if even:
        return x_ND.abs()
    basis_DD, _ = torch.linalg.qr(torch.randn(dim, dim, generator=torch.Generator().manual_seed(99)))
    return ((x_ND * torch.arange(1, dim + 1) ** -0.5) @ basis_DD.T * 3 + 0.3).relu()


class Times:
    """Median seconds of each contender, taken in turn, of wall clock and of the processor; and what each computed."""

    def __init__(self, contenders: dict[str, Callable[[], Any]], repeats: int) -> None:
        wall: dict[str, list[float]] = {name: [] for name in contenders}
        processor: dict[str, list[float]] = {name: [] for name in contenders}
        self.value: dict[str, Any] = {}
        for _ in range(repeats):
            for name, compute in contenders.items():
                start, processor_start = time.perf_counter(), time.process_time()
                self.value[name] = compute()
                wall[name].append(time.perf_counter() - start)
                processor[name].append(time.process_time() - processor_start)
        self.seconds = {name: statistics.median(times) for name, times in wall.items()}
        self.cpu_seconds = {name: statistics.median(times) for name, times in processor.items()}

    def ratios(self, slow: str, quick: str, suffix: str = '') -> dict[str, float]:
        """How many times faster one is than the other."""
        return {
            f'ratio{suffix}': self.seconds[slow] / self.seconds[quick],
            f'cpu_ratio{suffix}': self.cpu_seconds[slow] / self.cpu_seconds[quick],
        }


def frechet(count: int, dim: int, repeats: int) -> dict[str, Any]:
    """The Frechet distance of two sets of features."""
    real_ND, made_ND = (features(count, dim, seed).double() for seed in (1, 2))
    real, made = (Gaussian(x_ND.mean(0), x_ND.T.cov()) for x_ND in (real_ND, made_ND))
    theirs = [dict(mu=part.mean_D.numpy(), sigma=part.covariance_DD.numpy()) for part in (made, real)]
    factor = real.factor
    product_DD = factor.T @ made.covariance_DD @ factor

    def ours(prepared: Tensor | None) -> float:
        return frechet_distance(real.mean_D, real.covariance_DD, made.mean_D, made.covariance_DD, prepared)

    def scipy() -> float:
        (mu_a, sigma_a), (mu_b, sigma_b) = ((part['mu'], part['sigma']) for part in theirs)
        root = linalg.sqrtm(sigma_a @ sigma_b).real
        return float((mu_a - mu_b) @ (mu_a - mu_b) + np.trace(sigma_a) + np.trace(sigma_b) - 2 * np.trace(root))

    contenders = {
        'ours': lambda: ours(None),
        'ours_prepared': lambda: ours(factor),
        'torch_fidelity': lambda: fid_statistics_to_metric(*theirs, verbose=False)['frechet_inception_distance'],
        'scipy': scipy,
        'limit': lambda: torch.linalg.eigvalsh(product_DD),
    }
    times = Times(contenders, repeats)
    return {
        **times.ratios('torch_fidelity', 'ours'),
        **times.ratios('scipy', 'ours', '_scipy'),
        **times.ratios('torch_fidelity', 'ours_prepared', '_prepared'),
        **times.ratios('scipy', 'ours_prepared', '_scipy_prepared'),
        **times.ratios('ours', 'limit', '_limit'),
        **{key: value for key, value in vars(times).items() if key != 'value'},
        'value': {name: value for name, value in times.value.items() if name != 'limit'},
    }


def neighbourhoods(count: int, dim: int, repeats: int) -> dict[str, Any]:
    """Precision and recall of two sets of features of either shape."""
    ratios: dict[str, Any] = {}
    details: dict[str, Any] = {}
    for suffix, even in (('', False), ('_even', True)):
        real_ND, made_ND = (features(count, dim, seed, even) for seed in (1, 2))

        def ours(real_ND: Tensor = real_ND, made_ND: Tensor = made_ND) -> list[float]:
            return list(precision_recall(real_ND, made_ND))

        def theirs(real_ND: Tensor = real_ND, made_ND: Tensor = made_ND) -> list[float]:
            found = prc_features_to_metric(made_ND, real_ND, verbose=False)
            return [found['precision'], found['recall']]

        def plain(real_ND: Tensor = real_ND, made_ND: Tensor = made_ND) -> list[float]:
            inside = inside_by_blocks(real_ND, made_ND, 3, 'float32')
            return [part.double().mean().item() for part in inside]

        times = Times({'ours': ours, 'plain': plain, 'torch_fidelity': theirs}, repeats)
        ratios |= times.ratios('torch_fidelity', 'ours', suffix)
        ratios |= times.ratios('plain', 'ours', f'_plain{suffix}')
        details |= {f'{key}{suffix}': value for key, value in vars(times).items()}
    return ratios | details


def kernel(count: int, dim: int, repeats: int) -> dict[str, Any]:
    """KID of all images against its formula with one matrix for each of the three sums."""
    real_ND, made_ND = (features(count, dim, seed) for seed in (1, 2))

    def plain() -> float:
        x_ND, y_MD = made_ND.double(), real_ND.double()

        def matrix(a_ND: Tensor, b_MD: Tensor) -> Tensor:
            return (a_ND @ b_MD.T).div_(dim).add_(1).pow_(3)

        within = sum(float(k.sum() - k.trace()) for k in (matrix(x_ND, x_ND), matrix(y_MD, y_MD))) / (
            count * (count - 1)
        )
        return within - 2 * float(matrix(x_ND, y_MD).mean())

    times = Times({'ours': lambda: kernel_distance_of_all(real_ND, made_ND), 'plain': plain}, repeats)
    return {**times.ratios('plain', 'ours'), **vars(times)}


def pass_over_images(count: int, dim: int, repeats: int) -> dict[str, Any]:
    """500 reconstructions, whatever the sizes of the feature sets are."""
    return compare_ways(500, repeats)


MEASUREMENTS = {'frechet': frechet, 'precision_recall': neighbourhoods, 'kernel': kernel, 'one_pass': pass_over_images}


def measure(name: str, count: int, dim: int, repeats: int, threads: int, queue: Any) -> None:
    """One of `MEASUREMENTS` on so many threads."""
    torch.set_num_threads(threads)
    warnings.simplefilter('ignore', DeprecationWarning)  # SciPy's own, of sqrtm
    queue.put(MEASUREMENTS[name](count, dim, repeats))


def in_a_process(threads: int, *arguments: Any) -> dict[str, Any]:
    """`measure` in a fresh process, where NumPy and SciPy too have so many threads; those of OpenMP sleep while they wait."""
    os.environ.update({f'{library}_NUM_THREADS': str(threads) for library in ('OMP', 'OPENBLAS', 'MKL')})
    os.environ['OMP_WAIT_POLICY'] = 'PASSIVE'
    context = multiprocessing.get_context('spawn')
    queue = context.Queue()
    process = context.Process(target=measure, args=(*arguments, threads, queue))
    process.start()
    result = queue.get()
    process.join()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--json', action='store_true', help='print JSON instead of lines')
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        default=(10000, 2048),
        metavar=('N', 'D'),
        help='number and dimension of the features',
    )
    parser.add_argument(
        '--repeats', type=int, default=1, help='measured repeats, of which the median counts; default %(default)s'
    )
    parser.add_argument('--threads', type=int, default=torch.get_num_threads(), help='CPU threads; default %(default)s')
    parser.add_argument('--only', choices=MEASUREMENTS, help='run only this measurement')
    args = parser.parse_args()

    document: dict[str, Any] = {
        'task': 'evaluation, CPU',
        'size': dict(zip('ND', args.size, strict=True)),
        'threads': args.threads,
        'torch': torch.__version__,
    }
    for name in [args.only] if args.only else MEASUREMENTS:
        document[name] = in_a_process(args.threads, name, *args.size, args.repeats)
    if args.json:
        print(json.dumps(document, indent=2))
        return
    for name in MEASUREMENTS.keys() & document.keys():
        ratios = ', '.join(f'{key} {value:.1f}' for key, value in document[name].items() if 'ratio' in key)
        print(f'{name}: {ratios}')


if __name__ == '__main__':
    main()
