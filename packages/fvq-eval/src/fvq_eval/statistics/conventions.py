"""What has to be agreed on before two numbers from features can be compared."""

from __future__ import annotations

from dataclasses import dataclass, fields

from fvq_core.errors import UserError, nearest_hint

METRICS = ('fid', 'sfid', 'kid', 'inception_score', 'precision_recall', 'density_coverage')
DISTANCES = ('float32', 'float16')
# The metric that a choice is of, by how the choice's name starts.
CHOICES = {
    'is_': 'inception_score',
    'logit_': 'inception_score',
    'pr_': 'precision_recall',
    'density_': 'density_coverage',
    'kid_': 'kid',
}


@dataclass(frozen=True)
class FeatureConventions:
    """The free choices of the metrics on features; the defaults are torch-fidelity's.

    Attributes:
        metrics: Those of `METRICS` that are computed, if the image sets can give them.
        is_splits: Splits of the Inception score; None with `is_split_size`.
        is_split_size: Images a split, the last one fewer; None with `is_splits`.
        is_shuffle_seed: Seed of one shuffle before splitting; None keeps the order of the images' numbers.
        is_dtype: `float64`, or `float32` as ADM computes.
        logit_bias: Add the classifier's bias to the logits; no published protocol does.
        pr_neighbours: k of precision and recall.
        pr_distances: `float32`, or `float16` as ADM computes; moves precision and recall by 0.002 to 0.003.
        density_neighbours: k of density and coverage.
        kid_subsets: Random subsets whose mean is the KID.
        kid_subset_size: Images a subset; of smaller sets, all images.
        kid_degree: Degree of the kernel (x.y / D + kid_coef0)^kid_degree.
        kid_coef0: Constant of the kernel.
        kid_seed: Seed of the subsets.
    """

    metrics: tuple[str, ...] = METRICS
    is_splits: int | None = 10
    is_split_size: int | None = None
    is_shuffle_seed: int | None = 2020
    is_dtype: str = 'float64'
    logit_bias: bool = False
    pr_neighbours: int = 3
    pr_distances: str = 'float32'
    density_neighbours: int = 5
    kid_subsets: int = 100
    kid_subset_size: int = 1000
    kid_degree: int = 3
    kid_coef0: float = 1.0
    kid_seed: int = 2020

    def __post_init__(self) -> None:
        for metric in self.metrics:
            if metric not in METRICS:
                raise UserError(f"FeatureConventions: no metric '{metric}'; {nearest_hint(metric, METRICS)}")
        if (self.is_splits is None) == (self.is_split_size is None):
            raise UserError(
                'FeatureConventions: give exactly one of is_splits and is_split_size, and None as the other.'
            )
        if self.is_dtype not in ('float32', 'float64'):
            raise UserError(f"FeatureConventions: is_dtype='{self.is_dtype}'; choose 'float32' or 'float64'.")
        if self.pr_distances not in DISTANCES:
            raise UserError(f"FeatureConventions: pr_distances='{self.pr_distances}'; choose 'float32' or 'float16'.")

    def applied(self) -> dict[str, object]:
        """The choices that play a part: those of the metrics that are computed, without the unit of splits not used."""
        choices = {}
        for field in fields(self):
            of = [metric for start, metric in CHOICES.items() if field.name.startswith(start)]
            unused = field.name in ('is_splits', 'is_split_size') and getattr(self, field.name) is None
            if of and of[0] in self.metrics and not unused:
                choices[field.name] = getattr(self, field.name)
        return choices

    def __str__(self) -> str:
        chosen = (f'{name}={value}' for name, value in self.applied().items())
        return ', '.join([' '.join(self.metrics) or 'none', *chosen])


TORCH_FIDELITY = FeatureConventions()
# guided-diffusion's evaluator: consecutive splits of 5,000, float32 probabilities, float16 distances.
ADM = FeatureConventions(
    is_splits=None, is_split_size=5000, is_shuffle_seed=None, is_dtype='float32', pr_distances='float16'
)
