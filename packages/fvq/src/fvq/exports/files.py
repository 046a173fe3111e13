"""Writing an export: all or nothing, never over anything else, and never without having been looked at."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fvq_core import __version__
from fvq_core.autoencoder import Autoencoder
from fvq_core.codes import LatentLayout
from fvq_core.errors import UserError
from fvq_core.files.paths import check_parents, expand_home
from fvq_core.saving.weights import weights_digest
from fvq_core.saving.write_folder import replace_folder

from .compare import Comparison
from .graphs import Sizes, side_multiple

FACTS_NAME = 'export.json'
KEY = 'fvq'  # of the facts in a file's own metadata


@contextmanager
def new_folder(out: str | Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of `out` at the end of the block unless it raises.

    Raises:
        UserError: `out` is there and is no earlier export.
    """
    folder = Path(expand_home(out))
    check_parents(folder)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / FACTS_NAME).is_file()):
        raise UserError(
            f'{folder} exists and is not an earlier export (it has no {FACTS_NAME}); choose another folder.'
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f'.{folder.name}-'))
    try:
        staging.chmod(0o755)
        yield staging
        replace_folder(folder, staging)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def describe_export(autoencoder: Autoencoder, sizes: Sizes, form: str, half: bool) -> dict[str, Any]:
    """What a user of the files needs to know, JSON-ready."""
    layout = sizes.layout
    described = layout.to_dict()
    facts: dict[str, Any] = {
        'fvq_version': __version__,
        'format': form,
        'computes_in': 'float16' if half else 'float32',
        'images': f'float32 RGB (B, {autoencoder.encoder.in_channels}, H, W) in [-1, 1]',
        'sides_multiple_of': side_multiple(autoencoder),
        'fixed_size': [sizes.height, sizes.width] if sizes.fixed else None,
        'weights_digest': weights_digest({key: value.detach() for key, value in autoencoder.state_dict().items()}),
    }
    if isinstance(layout, LatentLayout):
        keys = ('channels', 'scale', 'shift')
        given = 'moments: mean and log variance, one behind the other' if autoencoder.variational else 'the latent'
        return facts | {'gives': given} | {f'latent_{key}': described[key] for key in keys}
    shape = 'h, w' if described['type'] == 'Grid' else 'L'
    several = ', slots' if layout.slots > 1 and described['type'] != 'Pyramid' else ''
    return facts | {'gives': f'codes, int64 (B, {shape}{several})', 'codebook_size': described['codebook_size']}


def judge(comparison: Comparison, allow: bool) -> None:
    """Raise if an export is not what it was made of, unless its user takes it as it is."""
    problem = comparison.problem()
    if problem and not allow:
        raise UserError(f'refused: {problem} ({comparison.sentence()}); --allow writes it all the same.')


def finish(folder: Path, facts: dict[str, Any], stamp: Callable[[str], None]) -> None:
    """Write the facts beside the files, and by `stamp` into them."""
    text = json.dumps(facts)
    stamp(text)
    (folder / FACTS_NAME).write_text(json.dumps(facts, indent=2) + '\n')
