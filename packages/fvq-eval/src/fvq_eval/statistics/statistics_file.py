"""Statistics in an npz file: ADM's keys for the moments, so that either side reads the other's."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fvq_core.errors import UserError

from .moments import Gaussian

KEYS = {'pool': ('mu', 'sigma'), 'spatial': ('mu_s', 'sigma_s')}  # guided-diffusion's evaluator
HEADER = 'fvq'
VERSION = 1


def write_statistics(
    path: Path,
    gaussians: Mapping[str, Gaussian],
    numbers_N: Tensor,
    rows: Mapping[str, Tensor],
    kind: Mapping[str, Any],
    note: str = '',
) -> None:
    """Write moments, features and a header that says what they are of; the file is whole or not there.

    Args:
        path: Of the file, ending in `.npz`.
        gaussians: By feature.
        numbers_N: Of the images whose features are given.
        rows: Features of every image by name.
        kind: `extractor_name`, `provenance`, `fingerprint`, `logit_bias_C`.
        note: Anything to find again.
    """
    bias_C = kind['logit_bias_C']
    header = {key: value for key, value in kind.items() if key != 'logit_bias_C'}
    counts = {name: gaussian.count for name, gaussian in gaussians.items()}
    arrays: dict[str, Any] = {HEADER: json.dumps({**header, 'version': VERSION, 'counts': counts, 'note': note})}
    for name, gaussian in gaussians.items():
        mean, covariance = KEYS[name]
        arrays[mean], arrays[covariance] = gaussian.mean_D.numpy(), gaussian.covariance_DD.numpy()
    if rows:
        arrays['numbers'] = numbers_N.numpy()
        arrays.update({f'features_{name}': row_ND.numpy() for name, row_ND in rows.items()})
    if bias_C is not None:
        arrays['logit_bias'] = bias_C.numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f'{path.name}.{os.getpid()}.tmp')
    try:
        with unfinished.open('wb') as file:
            np.savez(file, **arrays)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def read_statistics(path: Path) -> tuple[dict[str, Gaussian], Tensor, dict[str, Tensor], dict[str, Any]]:
    """What `write_statistics` wrote, or the moments of a file of ADM's.

    Returns:
        Gaussians by feature, numbers and features of images, and the kind.

    Raises:
        UserError: The file holds no statistics, broken ones, or pickled objects, which are never read.
    """
    try:
        with path.open('rb') as raw, np.load(raw, allow_pickle=False) as file:
            header = read_header(file)
            gaussians = {}
            for name, (mean, covariance) in KEYS.items():
                if mean in file.files and covariance in file.files:
                    count = header.get('counts', {}).get(name)
                    gaussians[name] = checked(path, mean, file[mean], file[covariance], count)
            if not gaussians:
                raise UserError(f'{path}: expected statistics (mu, sigma), got an npz with {", ".join(file.files)}.')
            rows = {
                key.removeprefix('features_'): torch.from_numpy(file[key])
                for key in file.files
                if key.startswith('features_')
            }
            numbers = file['numbers'] if rows else np.zeros(0, np.int64)
            bias = torch.from_numpy(file['logit_bias']) if 'logit_bias' in file.files else None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f'{path}: expected an npz file of statistics, got something else or a broken one ({error}).'
        ) from error
    kind = {
        'extractor_name': header.get('extractor_name'),
        'provenance': header.get('provenance', f'{path.name}, which does not say its network'),
        'fingerprint': header.get('fingerprint'),
        'logit_bias_C': bias,
    }
    return gaussians, torch.from_numpy(numbers), rows, kind


def read_header(file: Any) -> dict[str, Any]:
    """The header of an open npz file; empty for a file of another program.

    Raises:
        UserError: A later version wrote it.
    """
    header = json.loads(str(file[HEADER])) if HEADER in file.files else {}
    if header.get('version', VERSION) != VERSION:
        raise UserError(f'statistics of version {header["version"]}, this program reads {VERSION}; make them again.')
    return header


def read_note(path: Path) -> str | None:
    """The note of a file; None where there is no readable file of ours."""
    try:
        with path.open('rb') as raw, np.load(raw, allow_pickle=False) as file:
            return read_header(file).get('note')
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None


def checked(path: Path, key: str, mean: np.ndarray, covariance: np.ndarray, count: int | None) -> Gaussian:
    """Mean and covariance as float64.

    Raises:
        UserError: Shapes that do not fit, or numbers that are not finite.
    """
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise UserError(
            f"{path}: '{key}' {mean.shape} and its covariance {covariance.shape} do not fit; expected (D,) and (D, D)."
        )
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise UserError(f"{path}: '{key}' or its covariance holds NaN or infinity; make the statistics again.")
    return Gaussian(torch.from_numpy(mean.astype(np.float64)), torch.from_numpy(covariance.astype(np.float64)), count)
