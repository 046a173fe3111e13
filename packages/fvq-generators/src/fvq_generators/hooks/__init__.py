"""Hooks of generators' training."""

from .generator_report_hook import GeneratorReportHook
from .sharding_hook import ShardingHook

__all__ = ['GeneratorReportHook', 'ShardingHook']
