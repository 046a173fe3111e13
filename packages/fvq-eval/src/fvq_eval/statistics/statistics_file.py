"""Statistics in an npz file: ADM's keys for the moments, so that either side reads the other's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.files.arrays import open_npz, read_npz, write_npz
from fvq_core.files.json import parse_json

from .moments import Gaussian

KEYS = {'pool': ('mu', 'sigma'), 'spatial': ('mu_s', 'sigma_s')}  # guided-diffusion's evaluator
HEADER = 'fvq'
VERSION = 2  # 1 had no checksum
FEATURES, NUMBERS, BIAS = 'features_', 'numbers', 'logit_bias'


def write_statistics(
    path: Path,
    gaussians: Mapping[str, Gaussian],
    numbers_N: Tensor,
    rows: Mapping[str, Tensor],
    kind: Mapping[str, Any],
    note: str = '',
) -> None:
    """Write moments, features and a header that describes them; the file is whole or not there.

    Args:
        kind: `extractor_name`, `provenance`, `fingerprint`, `logit_bias_C`.
    """
    bias_C = kind['logit_bias_C']
    header = {key: value for key, value in kind.items() if key != 'logit_bias_C'}
    header |= {'version': VERSION, 'counts': {name: each.count for name, each in gaussians.items()}, 'note': note}
    arrays: dict[str, Any] = {}
    for name, gaussian in gaussians.items():
        mean, covariance = KEYS[name]
        arrays[mean], arrays[covariance] = gaussian.mean_D.numpy(), gaussian.covariance_DD.numpy()
    if rows:
        arrays[NUMBERS] = numbers_N.numpy()
        arrays.update({f'{FEATURES}{name}': row_ND.numpy() for name, row_ND in rows.items()})
    if bias_C is not None:
        arrays[BIAS] = bias_C.numpy()
    arrays[HEADER] = json.dumps({**header, 'sha256': checksum(header, arrays)})
    write_npz(path, arrays, 'What was there before is intact.')


def read_statistics(path: Path) -> tuple[dict[str, Gaussian], Tensor, dict[str, Tensor], dict[str, Any]]:
    """What `write_statistics` wrote, or the moments of a file of ADM's.

    Returns:
        Gaussians by feature, numbers and features of images, and the kind.
    """
    header, names, arrays = read_header(path), npz_names(path), read_npz(path, is_statistic)
    if header and header.pop('sha256', None) != checksum(header, arrays):
        raise UserError(f'{path}: expected the statistics that were saved, got edited ones; make them again.')
    gaussians = {}
    for name, keys in KEYS.items():
        if any(key in arrays for key in keys):
            gaussians[name] = read_gaussian(path, arrays, *keys, header.get('counts', {}).get(name))
    if 'pool' not in gaussians:
        raise UserError(f'{path}: expected statistics (mu, sigma), got an npz with {", ".join(names)}.')
    own = [key for key in arrays if key.startswith(FEATURES)]
    rows = {key.removeprefix(FEATURES): torch.from_numpy(arrays[key]) for key in own}
    if rows and NUMBERS not in arrays:
        raise UserError(f"{path}: expected '{NUMBERS}' of the images beside their features, got none; make it again.")
    numbers = arrays[NUMBERS] if rows else np.zeros(0, np.int64)
    bias = torch.from_numpy(arrays[BIAS]) if BIAS in arrays else None
    kind = {
        'extractor_name': header.get('extractor_name'),
        'provenance': header.get('provenance', f'{path.name}, which does not name its network'),
        'fingerprint': header.get('fingerprint'),
        'logit_bias_C': bias,
    }
    return gaussians, torch.from_numpy(numbers), rows, kind


def read_header(path: Path) -> dict[str, Any]:
    """The header of a file; empty for a file of another program."""
    found = read_npz(path, lambda name: name == HEADER)
    if not found:
        return {}
    header = parse_json(str(found[HEADER]), f'{path}: its header', 'make the statistics again')
    if not isinstance(header, dict) or not isinstance(header.get('counts', {}), dict):
        raise UserError(f'{path}: its header is not a JSON object; make the statistics again.')
    if header.get('version', VERSION) != VERSION:
        raise UserError(f'{path}: statistics of version {header["version"]}, expected {VERSION}; make them again.')
    return header


def read_note(path: Path) -> str | None:
    """The note of a file; None if it is not a readable file of ours."""
    try:
        return read_header(path).get('note')
    except UserError:
        return None


def is_statistic(name: str) -> bool:
    """Whether an array is one of those that are read; ADM's files hold images too."""
    return name in (NUMBERS, BIAS) or name.startswith(FEATURES) or any(name in pair for pair in KEYS.values())


def checksum(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """The sha256 of a header and of the names, types, shapes and values of arrays, in order of name."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f'{name} {array.dtype.str} {array.shape}\n'.encode())
        digest.update(array.data.cast('B') if array.size else b'')
    return digest.hexdigest()


def holds_statistics(path: str | Path) -> bool:
    """Whether an npz holds statistics, not only images."""
    names = npz_names(path)
    return any(key in names for keys in KEYS.values() for key in keys)


def read_gaussian(
    path: Path, arrays: Mapping[str, np.ndarray], key: str, covariance_key: str, count: int | None
) -> Gaussian:
    """A mean and its covariance as float64."""
    for each in (key, covariance_key):
        if each not in arrays:
            raise UserError(f"{path}: expected '{key}' and '{covariance_key}', got no '{each}'; save them again.")
    mean, covariance = arrays[key], arrays[covariance_key]
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise UserError(
            f"{path}: '{key}' {mean.shape} and its covariance {covariance.shape} do not fit; expected (D,), (D, D)."
        )
    if not all(each.dtype.kind == 'f' and np.isfinite(each).all() for each in (mean, covariance)):
        raise UserError(
            f"{path}: '{key}' or its covariance holds NaN or infinity, or is not of floats; make them again."
        )
    return Gaussian(torch.from_numpy(mean.astype(np.float64)), torch.from_numpy(covariance.astype(np.float64)), count)


def npz_names(path: str | Path) -> list[str]:
    """The names of the arrays in a `.npz` file; raises as `read_npz` does."""
    with open_npz(path) as archive:
        return [name.removesuffix('.npy') for name in archive.namelist()]
