"""The public path of the search; see `fvq_core.ops.nearest_code`."""

from .ops.nearest_code import nearest_code

__all__ = ['nearest_code']
