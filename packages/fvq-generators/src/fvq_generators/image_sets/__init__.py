"""Image samples of a generator: planned, drawn by any number of processes, kept on the disk, gathered for evaluation."""

from .caption_folder import CaptionFolder
from .draw import check_request, draw_samples
from .given_images import GivenImages
from .given_orders import GivenOrders
from .npz_file import write_npz
from .outputs import SampleOutputs
from .sample_plan import SHARD_IMAGES, SamplePlan, parse_classes
from .sample_shards import SampleShards

__all__ = [
    'SHARD_IMAGES',
    'CaptionFolder',
    'GivenImages',
    'GivenOrders',
    'SampleOutputs',
    'SamplePlan',
    'SampleShards',
    'check_request',
    'draw_samples',
    'parse_classes',
    'write_npz',
]
