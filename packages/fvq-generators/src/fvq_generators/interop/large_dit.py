"""L-DiT's released weights (`consolidated_ema.00-of-01.pth`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.interop.key_map import LayoutError, Rules, rename
from fvq_core.registry import IMPORTERS

from .dit import SCALE, SHARED_RULES, our_modulation
from .generator_importer import GeneratorImporter, depth_of, heads_of
from .llamagen import feed_forward, joined_gates

HEADS = {3072: 32, 4096: 32}
GRID = (32, 32)  # latents of 256 pixels
BLOCK = r'layers\.(\d+)\.'
RULES: Rules = (
    *SHARED_RULES,
    (r'x_embedder\.(weight|bias)', r'patches.\1'),
    (BLOCK + r'attention\.wqkv\.weight', r'blocks.\1.attention.qkv.weight'),
    (BLOCK + r'attention\.wo\.weight', r'blocks.\1.attention.out.weight'),
    (BLOCK + r'attention\.([qk]_norm)\.(weight|bias)', r'blocks.\1.attention.\2.\3'),
    (BLOCK + r'feed_forward\.gate_up\.weight', r'blocks.\1.ffn.gate_up.weight'),
    (BLOCK + r'feed_forward\.w2\.weight', r'blocks.\1.ffn.out.weight'),
    (BLOCK + r'(attention|ffn)_norm\.weight', r'blocks.\1.\2_norm.weight'),
    (BLOCK + r'adaLN_modulation\.1\.(weight|bias)', r'blocks.\1.modulation.linear.\2'),
)


def import_large_dit(
    state: Mapping[str, Tensor],
    heads: int | None = None,
    grid: tuple[int, int] | None = None,
    cond_dropout: float = 0.1,
    num_classes: int | None = None,
    scale: float = SCALE,
    learned_variance: bool = True,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our `LargeDiT` from a state dict of theirs.

    Args:
        state: The peer's state dict.
        heads, cond_dropout, num_classes, scale: See `import_dit`.
        grid: Height and width of the latents, which no file holds; 32 x 32, those of 256 pixels, by default.
        learned_variance: Whether half of the outputs are the variance's.

    Raises:
        UserError: Another layout of keys, heads that are not known, or queries with other heads than keys.
    """
    if 'x_embedder.weight' not in state or 'layers.0.attention.wq.weight' not in state:
        raise LayoutError('L-DiT: not a generator in its layout: no x_embedder.weight or layers.0.attention.wq.weight.')
    D, inputs = state['x_embedder.weight'].shape
    outputs = len(state['final_layer.linear.weight']) // (1 + learned_variance)
    if outputs != inputs:
        raise UserError(f'L-DiT: {inputs} channels go into a patch and {outputs} come out; change learned_variance.')
    if len(state['layers.0.attention.wk.weight']) != D:
        raise UserError(
            'L-DiT: keys with fewer heads than queries are not supported; the released models have as many.'
        )
    patch = 2  # of all released models; a patch of 4 channels has 16 numbers
    height, width = grid or GRID
    rows = len(state['y_embedder.embedding_table.weight'])
    config = dict(
        type='LargeDiT',
        layout=dict(type='Grid', height=height, width=width, channels=inputs // patch**2, scale=scale),
        patch_size=patch,
        dim=D,
        depth=depth_of(state, 'layers'),
        heads=heads_of('L-DiT', D, heads, HEADS),
        qk_norm='layers.0.attention.q_norm.weight' in state,
        num_classes=rows - (cond_dropout > 0) if num_classes is None else num_classes,
        cond_dropout=cond_dropout,
        learned_variance=learned_variance,
        **feed_forward(D, len(state['layers.0.feed_forward.w1.weight'])),
    )
    ours = {key: our_modulation(key, value, D) for key, value in joined_gates(joined_qkv(state)).items()}
    return config, rename(ours, RULES, 'L-DiT', (r'freqs_cis',))


def joined_qkv(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict with the maps to queries, keys and values as one."""
    joined = {}
    for key, value in state.items():
        if key.endswith('.attention.wq.weight'):
            others = [state[key.replace('.wq.', f'.w{other}.')] for other in 'kv']
            joined[key.replace('.wq.', '.wqkv.')] = torch.cat([value, *others])
        elif not key.endswith(('.attention.wk.weight', '.attention.wv.weight')):
            joined[key] = value
    return joined


@IMPORTERS.register_module(name='l-dit')
class LargeDiTImporter(GeneratorImporter):
    """L-DiT's generators."""

    read = staticmethod(import_large_dit)

    @staticmethod
    def sampling(model: Any) -> dict[str, Any]:
        """As it guides; the scale of the published FIDs is not known."""
        return dict(cfg_channels=3)
