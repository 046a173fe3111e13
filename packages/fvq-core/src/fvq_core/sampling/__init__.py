"""Image samples of a generator: planned, drawn by any number of processes, kept on the disk, gathered for evaluation."""

from .draw import draw_samples, wait_for_all
from .npz_file import write_npz
from .outputs import SampleOutputs
from .sample_plan import SamplePlan, parse_classes
from .sample_shards import SampleShards

__all__ = ['SampleOutputs', 'SamplePlan', 'SampleShards', 'draw_samples', 'parse_classes', 'wait_for_all', 'write_npz']
