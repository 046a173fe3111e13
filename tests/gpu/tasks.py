"""A small task of training."""

from __future__ import annotations

from typing import Any

import torch

from fvq_core.registry import MODELS

from ..tiny import FVQ, tokenizer_config


def small_task(device: torch.device, **more: Any) -> Any:
    model = dict(type='TokenizerTask', tokenizer=tokenizer_config(FVQ), reconstruction_loss=dict(type='L2Loss'), **more)
    return MODELS.build(model).place(device).train()
