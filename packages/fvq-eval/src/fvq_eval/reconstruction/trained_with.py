"""Which networks a tokenizer was trained against or aligned with: a score of the same one's features says little of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fvq_core.config.walk import components
from fvq_core.losses.perceptual.timm_network import network_name
from fvq_core.registry import find_component


def networks_of(model: Any) -> list[str]:
    """The kinds of frozen vision transformers in a config's `model`, such as `dinov2`, `clip`."""
    kinds = ((find_component(node['type']), node) for _, node in components(model))
    return sorted({kind.frozen_network(node) for kind, node in kinds if hasattr(kind, 'frozen_network')})


def warn_of_same_network(extractor: Mapping[str, Any] | bool | None, trained_with: list[str]) -> str | None:
    """Log a warning, and return it, if features are of a kind of network that the tokenizer was trained with."""
    model = extractor.get('model') if isinstance(extractor, Mapping) else None
    if model is None or network_name(str(model)) not in trained_with:
        return None
    kind = network_name(str(model))
    line = f'scores of {model} are no measure of a tokenizer that was trained with the features of {kind}; take another one.'
    logging.getLogger('fvq').warning(line)
    return line
