"""Group normalization as VQGAN uses it."""

from __future__ import annotations

from torch import nn

from ...errors import UserError


def group_norm(channels: int, groups: int = 32, affine: bool = True) -> nn.GroupNorm:
    """GroupNorm with eps 1e-6; raises if `channels` is not a multiple of `groups`."""
    if channels % groups:
        raise UserError(
            f'group_norm: {channels} channels are not a multiple of {groups} groups; change ch or norm_groups.'
        )
    return nn.GroupNorm(groups, channels, eps=1e-6, affine=affine)
