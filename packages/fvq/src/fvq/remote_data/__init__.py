"""Images that do not lie in a folder: tar shards behind an address, and data sets of Hugging Face.

They need the extra `fvq[data]`, whose libraries are imported when a data set is built.
"""

from .huggingface_images import HuggingFaceImages
from .huggingface_stream import HuggingFaceStream
from .remote_shards import RemoteShards

__all__ = ['HuggingFaceImages', 'HuggingFaceStream', 'RemoteShards']
