"""Options that are checked before anything is computed."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from fvq_core.config.key_value import KeyValueAction
from fvq_core.errors import UserError

from ..file_above import file_above


def prepare_output(option: str, path: str | None, suffix: str = '') -> None:
    """Make the folder of an output file, and check that a file can be written there before anything is computed.

    Args:
        suffix: The ending its name must have.

    Raises:
        UserError: It is a folder, has another suffix, or cannot be written.
    """
    if path is None:
        return
    if Path(path).is_dir():
        raise UserError(f'{option} {path} is a folder; name a file.')
    if not path.endswith(suffix):
        raise UserError(f"{option}: expected a name that ends in {suffix}, got '{path}'; name it {path}{suffix}.")
    folder = Path(path).parent
    if taken := file_above(folder):
        raise UserError(f'{option} {path}: expected {taken} to be a folder, got a file; choose another path.')
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f'{option}: expected a file that can be written, got {path} ({error.strerror or error}); name another place.'
        ) from error


def add_extractor(parser: argparse.ArgumentParser, default: str) -> None:
    """Options of the network whose features are compared; `default` is in words."""
    parser.add_argument(
        '--extractor',
        metavar='TYPE',
        help=f'registered feature extractor, such as Backbone; default: {default}. TorchScriptFeatures runs any code in its '
        'file; pin the file with --extractor-options sha256=HEX',
    )
    parser.add_argument(
        '--extractor-options',
        nargs='+',
        action=KeyValueAction,
        metavar='KEY=VALUE',
        help='arguments of the extractor, such as weights=FILE',
    )


def extractor_config(name: str | None, options: Mapping[str, Any] | None) -> dict[str, Any] | Literal[False] | None:
    """The config of a feature extractor; False for `none`, None if neither option is given."""
    if name is None and not options:
        return None
    return False if name == 'none' else dict(type=name or 'InceptionV3', **(options or {}))


def check_least(option: str, value: int | None, least: int) -> None:
    """Raise if a number is below its minimum."""
    if value is not None and value < least:
        raise UserError(f'{option}: expected {least} or more, got {value}.')


def in_json(metrics: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Numbers with their stamps."""
    return {name: metric.to_dict() for name, metric in metrics.items()}
