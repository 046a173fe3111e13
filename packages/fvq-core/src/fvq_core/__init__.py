"""FVQ core: contracts, registries, runner, data and the tokenizer. Imports no sibling package."""

from importlib.metadata import version

__version__ = version('fvq-core')
