"""Reading other people's weights: torch files as data, safetensors, and the state dict in a file."""

from .find_weights import Weights, candidates, parts
from .known_objects import tensor_or_none
from .read_weights import read_state_dict, read_weights_file
from .unreadable import CheckpointError

__all__ = ['CheckpointError', 'Weights', 'candidates', 'parts']
__all__ += ['read_state_dict', 'read_weights_file', 'tensor_or_none']
