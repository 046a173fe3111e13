"""Reading a parity case and comparing with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor


@dataclass
class Case:
    """What a peer's own code computed: its state dict, inputs, outputs, and how close ours must come."""

    name: str
    description: dict[str, Any]
    state: dict[str, Tensor]
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]

    @property
    def constructor(self) -> dict[str, Any]:
        return self.description['constructor']

    @property
    def training(self) -> bool:
        return self.description['mode'].startswith('train')

    def compare(self, got: dict[str, Tensor]) -> None:
        """Every output that the case has must be there and equal within its tolerance."""
        missing = self.outputs.keys() - got.keys()
        assert not missing, f'the adapter computes no {sorted(missing)}'
        tolerance = self.description['tolerance']
        wrong = []
        for name, want in self.outputs.items():
            have = torch.as_tensor(got[name]).detach()
            assert have.shape == want.shape, f'{name}: shape {tuple(have.shape)}, the peer has {tuple(want.shape)}'
            if name in tolerance['exact']:
                equal = torch.equal(have.to(want.dtype), want)
            else:
                close = dict(rtol=tolerance['rtol'], atol=tolerance['atol'][name])
                equal = torch.allclose(have.double(), want.double(), **close)
            if not equal:
                wrong.append(f'{name}: off by up to {(have.double() - want.double()).abs().max().item():g}')
        assert not wrong, '; '.join(wrong)


def load_case(path: Path) -> Case:
    """A case from NAME.json and NAME.safetensors; large tensors are made from the seeds that the json gives."""
    description = json.loads(path.with_suffix('.json').read_text())
    tensors = load_file(path.with_suffix('.safetensors'))

    def part(prefix: str) -> dict[str, Tensor]:
        return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}

    state = part('state/')
    for key, entry in description['state'].get('recipe_entries', {}).items():
        if entry['kind'] == 'uniform':
            unit = np.random.RandomState(entry['seed']).random_sample(size=tuple(entry['shape']))
            values = torch.from_numpy((entry['low'] + (entry['high'] - entry['low']) * unit).astype(np.float32))
        else:
            values = torch.full(entry['shape'], entry['value'], dtype=getattr(torch, entry['dtype']))
        state[key] = values.reshape(entry['shape'])
    return Case(path.name, description, state, part('input/'), part('output/'))
