"""Whether two sets of statistics are of the same features."""

from __future__ import annotations

from typing import Any

from fvq_core.errors import UserError

INCEPTION = 'inception-2015'


def check_comparable(one: Any, other: Any) -> None:
    """Raise if two `ImageSetStatistics` are of different networks or preprocessing.

    ADM's files do not name their network; it is the 2015 Inception network.
    """
    if one.fingerprint is None or other.fingerprint is None:
        names = {one.extractor_name or INCEPTION, other.extractor_name or INCEPTION}
        same = len(names) == 1
    else:
        same = one.fingerprint == other.fingerprint
    if not same:
        raise UserError(
            f'statistics of different features: {one.provenance} ({one.extractor_name or "not stated"}) and '
            f'{other.provenance} ({other.extractor_name or "not stated"}); extract both with one network.'
        )
