"""RandAR's generators (`randar_0.3b_llamagen_360k_bs_1024_lr_0.0004.safetensors`, ...)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fvq_core.interop.key_map import LayoutError, Rules, rename
from fvq_core.registry import IMPORTERS

from . import llamagen
from .generator_importer import GeneratorImporter

INSTRUCTION = 'pos_instruct_embeddings'
RULES: Rules = ((INSTRUCTION, 'instruction_1D'), *llamagen.RULES)
SAMPLING: dict[int, dict[str, Any]] = {1024: dict(cfg_scale=3.4), 1280: dict(cfg_scale=4.0)}


def import_randar(
    state: Mapping[str, Tensor],
    heads: int | None = None,
    grid: tuple[int, int] | None = None,
    cond_dropout: float = 0.1,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our `RandAR` from a state dict of theirs; the arguments are those of LlamaGen's importer.

    Raises:
        UserError: Another layout of keys, or heads that are not known or do not fit.
    """
    if INSTRUCTION not in state:
        raise LayoutError(f'RandAR: not a generator in the layout of RandAR: no {INSTRUCTION}.')
    rest = {key: value for key, value in state.items() if key != INSTRUCTION}
    config, _ = llamagen.import_generator(rest, heads, grid, cond_dropout=cond_dropout)
    return {**config, 'type': 'RandAR'}, rename(llamagen.joined_gates(state), RULES, 'RandAR', llamagen.NOT_WEIGHTS)


@IMPORTERS.register_module(name='randar')
class RandARImporter(GeneratorImporter):
    """RandAR's generators."""

    read = staticmethod(import_randar)

    @staticmethod
    def sampling(model: Any) -> dict[str, Any]:
        """Those of the published FID, by channels."""
        return SAMPLING.get(model.head.in_features, {})
