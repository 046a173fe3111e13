"""All sections, in order of value. A subject has a file; a kernel's section belongs to its subject."""

from . import evaluation, quantizers, sampling, small_sets, suite, training

SECTIONS = (
    *suite.CHEAP,
    *training.SECTIONS,
    *sampling.SECTIONS,
    *quantizers.SECTIONS,
    *small_sets.SECTIONS,
    *evaluation.SECTIONS,
    *suite.OF_A_SUBJECT,
    *suite.WHOLE,
)
