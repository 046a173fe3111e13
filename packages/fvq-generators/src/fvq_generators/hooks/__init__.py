"""Hooks of generators' training."""

from .generator_report_hook import GeneratorReportHook
from .sample_grid_hook import SampleGridHook
from .sharding_hook import ShardingHook

__all__ = ['GeneratorReportHook', 'SampleGridHook', 'ShardingHook']
