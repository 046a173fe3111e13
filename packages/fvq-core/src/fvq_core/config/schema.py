"""What a config may hold: its top-level entries and those of a data loader, with their types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

# The entries that a run reads. A config may hold others, such as `paper`.
TOP_LEVEL: dict[str, Any] = dict(
    model=Mapping,
    train_dataloader=Mapping | None,
    val_dataloader=Mapping | None,
    train_cfg=Mapping | None,
    val_cfg=Mapping | None,
    optim_wrapper=Mapping | None,
    param_scheduler=Mapping | Sequence[Mapping] | None,
    val_evaluator=Sequence[Mapping] | None,
    default_hooks=Mapping | None,
    custom_hooks=Sequence[Mapping] | None,
    auto_scale_lr=Mapping | None,
    visualizer=Mapping | None,
    env_cfg=Mapping,
    randomness=Mapping,
    work_dir=str,
    device=str,
    launcher=str,
    log_level=int | str,
    load_from=str | None,
    load_weights=Literal['ema', 'raw'] | None,
    load_fresh=Sequence[str] | None,
    resume=bool,
    resume_elastic=bool,
    timeout=float,
    ddp=Mapping,
    default_scope=str | None,
    base=str,
    size=str,
)
# The entries of some of them; others that they hold are passed on.
NESTED: dict[str, dict[str, Any]] = dict(
    randomness=dict(seed=int | None, deterministic=bool | None, diff_rank_seed=bool | None),
    auto_scale_lr=dict(enable=bool, base_batch_size=int),
    env_cfg=dict(cudnn_benchmark=bool, mp_cfg=Mapping, dist_cfg=Mapping, resource_limit=int),
    visualizer=dict(vis_backends=Sequence[Mapping] | None),
)
LOADER: dict[str, Any] = dict(
    dataset=Mapping, batch_size=int, num_workers=int, pin_memory=bool, prefetch_factor=int | None, max_unreadable=float
)
LOADER |= dict(on_device=bool | str)


def builder_keys(component: Any) -> set[str]:
    """What the config of a component may hold beside the arguments of its constructor; its builder takes it."""
    from mmengine.hooks import Hook
    from mmengine.optim import OptimWrapper

    keys = {'type', '_scope_'}
    if isinstance(component, type) and issubclass(component, Hook):
        keys |= {'priority'}
    if isinstance(component, type) and issubclass(component, OptimWrapper):
        keys |= {'constructor', 'paramwise_cfg', 'parts'}
    return keys
