"""The checkpoint layouts of other projects' generators: maps from their keys to ours, and configs read off their shapes."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from . import llamagen

# Each peer: state dict of the peer -> (config of our generator, state dict of our generator).
PEERS: dict[str, Callable[..., tuple[dict[str, Any], Mapping[str, Tensor]]]] = {
    'llamagen': llamagen.import_generator,
}

__all__ = ['PEERS']
