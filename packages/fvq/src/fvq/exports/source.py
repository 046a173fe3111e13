"""What is exported: the folded tokenizer of a checkpoint, or of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from fvq_core.autoencoder import Autoencoder
from fvq_core.config.read import load_config
from fvq_core.errors import UserError
from fvq_core.files.paths import expand_home

CHECKPOINTS = ('.pth', '.pt', '.ckpt')


def read_source(
    source: str, label: int | None = None, config: str | None = None, weights: Literal['ema', 'raw'] | None = None
) -> tuple[Autoencoder, str, dict[str, Any] | None]:
    """The folded autoencoder, what it is called, and facts about its weights to save (None for those it came with).

    Args:
        source: A checkpoint, a folder, or `user/name` on the Hugging Face hub.
        label: The class to fold for.
        config, weights: Of a checkpoint; see `tools/export.py --help`.
    """
    path = Path(expand_home(source))
    if not path.is_file() and path.suffix not in CHECKPOINTS:
        given = [name for name, value in (('--config', config), ('--weights', weights)) if value is not None]
        if given:
            raise UserError(f'{source} is a tokenizer, and {given[0]} is for checkpoints; drop it.')
        return Autoencoder.from_pretrained(source).fold(label), source, None

    from fvq_core.training.checkpoint import read_checkpoint
    from fvq_core.training.load_task import checkpoint_config, load_task
    from fvq_eval.reconstruction.trained_with import networks_of

    checkpoint = read_checkpoint(source)
    task = load_task(checkpoint, source, load_config(config) if config else None, weights).eval()
    autoencoder = task.autoencoder()
    if autoencoder is None:
        raise UserError(f'{source} is a checkpoint of a {type(task).__name__}, which trains no tokenizer.')
    name, meta = f'{source}{task.weights_note}', checkpoint.get('meta', {})
    versions = {'fvq': meta.get('fvq_version'), 'torch': meta.get('torch_version')}
    facts = {'weights': name, 'seed': meta.get('seed'), 'versions': versions}
    if meta.get('config') or config:
        model = load_config(config).model if config else checkpoint_config(checkpoint, source)['model']
        facts['trained_with'] = networks_of(model)
    return autoencoder.fold(label), name, facts
