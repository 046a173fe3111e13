"""The checkpoint layouts of other projects' generators: maps from their keys to ours, and configs read off their shapes."""

from .ibq import IBQTransformerImporter
from .llamagen import LlamaGenImporter, import_generator
from .min_gpt import MinGPTImporter, UnconditionalMinGPTImporter
from .rq_transformer import RQTransformerImporter
from .var import VARImporter

__all__ = [
    'IBQTransformerImporter',
    'LlamaGenImporter',
    'MinGPTImporter',
    'RQTransformerImporter',
    'UnconditionalMinGPTImporter',
    'VARImporter',
    'import_generator',
]
