"""FVQ core: contracts, registries, runner, data and the tokenizer. Imports no sibling package."""

__version__ = '0.2.0'
