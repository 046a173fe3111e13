"""Codes of a whole data set in one folder: `CodesWriter` makes it, `CodesStore` reads it, `open_codes` reads any."""

from .llamagen_folder import LlamaGenFolder
from .manifest import Manifest, Shard, read_manifest
from .open_codes import open_codes
from .store import CodesStore
from .writer import CodesWriter

__all__ = ['CodesStore', 'CodesWriter', 'LlamaGenFolder', 'Manifest', 'Shard', 'open_codes', 'read_manifest']
