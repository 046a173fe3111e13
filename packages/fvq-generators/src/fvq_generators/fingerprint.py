"""Which tokenizer made these codes? A name for what a tokenizer computes, that saving and loading does not change."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch

from fvq_core.registry import by_name, describe


def tokenizer_hash(tokenizer: Any) -> str:
    """SHA-256 over config and weights of a tokenizer, which is folded if it is not; 64 hexadecimal digits.

    A checkpoint, the tokenizer exported from it, and that one loaded again have the same hash, on any device. Codes mean
    the same pixels for two tokenizers of one hash, and for no others.
    """
    folded = tokenizer.fold()
    digest = hashlib.sha256(json.dumps(by_name(describe(folded)), sort_keys=True).encode())
    for key, value in sorted(folded.state_dict().items()):
        digest.update(f'\n{key} {value.dtype} {tuple(value.shape)}\n'.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
