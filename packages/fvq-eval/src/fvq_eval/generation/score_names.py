"""Names of scores, and what computes them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fvq_core.errors import UserError, nearest_hint

# By name: the entry of `FeatureConventions.metrics` that computes it, prefixes of its values' names, and the features that
# must be kept of every image.
SCORES: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    'fid': ('fid', ('fid', 'fd_'), ()),
    'sfid': ('sfid', ('sfid', 'sfd_'), ()),
    'kid': ('kid', ('kid', 'kd_'), ('pool',)),
    'inception_score': ('inception_score', ('inception_score', 'is_'), ('logits',)),
    'precision': ('precision_recall', ('precision',), ('pool',)),
    'recall': ('precision_recall', ('recall',), ('pool',)),
    'density': ('density_coverage', ('density',), ('pool',)),
    'coverage': ('density_coverage', ('coverage',), ('pool',)),
}


def check_scores(names: Sequence[str]) -> None:
    """Raise if a score does not exist."""
    for name in names:
        if name not in SCORES:
            raise UserError(f"there is no metric '{name}'; {nearest_hint(name, SCORES)}")


def scores_of(wanted: Collection[str]) -> tuple[str, ...]:
    """The scores of some entries of `FeatureConventions.metrics`."""
    return tuple(name for name, (group, _, _) in SCORES.items() if group in wanted)


def groups(names: Collection[str]) -> tuple[str, ...]:
    """The entries of `FeatureConventions.metrics` that compute some scores."""
    return tuple(dict.fromkeys(SCORES[name][0] for name in names))


def features_needed(names: Collection[str]) -> set[str]:
    """Features that must be kept of every image for some scores."""
    return {feature for name in names for feature in SCORES[name][2]}


def is_wanted(key: str, names: Collection[str]) -> bool:
    """Whether a value belongs to one of some scores."""
    return any(key.startswith(SCORES[name][1]) for name in names)
