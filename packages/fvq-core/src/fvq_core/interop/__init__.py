"""The checkpoint layouts of other projects: pure maps from their keys to ours, and configs read off their shapes."""

from collections.abc import Callable, Mapping
from typing import Any

from . import fvq_release, llamagen, rqvae, taming, var

# Each peer: state dict of the peer -> (config of our tokenizer, state dict of our tokenizer).
PEERS: dict[str, Callable[..., tuple[dict[str, Any], Mapping[str, Any]]]] = {
    'llamagen': llamagen.import_tokenizer,
    'fvq': fvq_release.import_tokenizer,
    'taming': taming.import_tokenizer,
    'rqvae': rqvae.import_tokenizer,
    'var': var.import_tokenizer,
}

# Peers that are no tokenizers, from packages beside this one: the function that converts them, as `module:name`. It takes the
# peer's state dict, the folder to write, the weights' origin in words and options, and returns a line on what it wrote.
OTHER_PEERS: dict[str, str] = {}

__all__ = ['OTHER_PEERS', 'PEERS']
