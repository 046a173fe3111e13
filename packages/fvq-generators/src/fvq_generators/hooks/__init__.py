"""Hooks of generators' training."""

from .generator_report_hook import GeneratorReportHook
from .random_order_hook import RandomOrderHook
from .sample_grid_hook import SampleGridHook
from .sharding_hook import ShardingHook

__all__ = ['GeneratorReportHook', 'RandomOrderHook', 'SampleGridHook', 'ShardingHook']
