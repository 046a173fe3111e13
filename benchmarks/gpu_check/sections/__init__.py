"""All sections, in order of value. A subject has a file; a kernel's section belongs to its subject."""

from ..section import Section
from . import evaluation, quantizers, sampling, small_sets, suite, training

# For the default budget: are results right, are the kernels of training and of the search proven, how fast is a step?
FIRST = ('gpu-tests', 'fused-ops', 'search', 'train-step')
LAST = ('sampling-kernels-XL', 'sampling-kernels-XXL', 'sampling-kernels-3B')  # long, for what is seldom sampled


def place(section: Section) -> int:
    return FIRST.index(section.name) if section.name in FIRST else len(FIRST) + (section.name in LAST)


SECTIONS = tuple(
    sorted(
        (
            *suite.CHEAP,
            *training.SECTIONS,
            *sampling.SECTIONS,
            *quantizers.SECTIONS,
            *small_sets.SECTIONS,
            *evaluation.SECTIONS,
            *suite.OF_A_SUBJECT,
            *suite.WHOLE,
        ),
        key=place,
    )
)
