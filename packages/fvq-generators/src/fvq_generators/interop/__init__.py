"""The checkpoint layouts of other projects' generators: maps from their keys to ours, and configs read off their shapes."""

from .bar import BARImporter
from .ibq import IBQTransformerImporter
from .infinity import InfinityImporter
from .llamagen import LlamaGenImporter, import_generator
from .min_gpt import MinGPTImporter, UnconditionalMinGPTImporter
from .open_magvit2 import OpenMAGVIT2TransformerImporter
from .randar import RandARImporter
from .rar import RARImporter
from .rq_transformer import RQTransformerImporter
from .var import VARImporter
from .vitvq import ViTVQTransformerImporter

__all__ = [
    'BARImporter',
    'IBQTransformerImporter',
    'InfinityImporter',
    'LlamaGenImporter',
    'MinGPTImporter',
    'OpenMAGVIT2TransformerImporter',
    'RARImporter',
    'RQTransformerImporter',
    'RandARImporter',
    'UnconditionalMinGPTImporter',
    'VARImporter',
    'ViTVQTransformerImporter',
    'import_generator',
]
