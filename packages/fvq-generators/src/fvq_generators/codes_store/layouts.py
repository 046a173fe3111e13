"""The layout that a store describes, of codes or of latents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fvq_core.codes import CodeLayout, LatentLayout, layout_from_dict
from fvq_core.positions import positions_from_dict


def any_layout_from_dict(description: Any) -> CodeLayout | LatentLayout:
    """The layout of codes or of latents that `to_dict` described; that of latents has `channels`."""
    if not isinstance(description, Mapping) or 'channels' not in description:
        return layout_from_dict(description)
    arguments = dict(description)
    own = {key: arguments.pop(key) for key in ('channels', 'scale', 'shift') if key in arguments}
    return LatentLayout(positions_from_dict(arguments), **own)
