"""Hooks of generators' training."""

from .generator_log_hook import GeneratorLogHook
from .generator_report_hook import GeneratorReportHook
from .sharding_hook import ShardingHook

__all__ = ['GeneratorLogHook', 'GeneratorReportHook', 'ShardingHook']
