"""How much of a call's time are products of matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.profiler import ProfilerActivity, profile

PRODUCTS = frozenset(['aten::mm', 'aten::addmm', 'aten::bmm', 'aten::baddbmm', 'aten::mv', 'aten::addmv'])


def product_share(function: Callable[[], Any]) -> float:
    """The share of the operators' own time on the CPU, from 0 to 1, that products have. Attention's are within its kernel."""
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiled:
        function()
    events = profiled.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    return sum(event.self_cpu_time_total for event in events if event.key in PRODUCTS) / total
