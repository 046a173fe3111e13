"""The same training steps by one process with the whole batch, or by two with half of it each."""

from __future__ import annotations

import copy
import logging
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist

from fvq_core.codes import Targets
from fvq_core.data.loader import Loader
from fvq_core.registry import GENERATORS, MODELS
from fvq_core.training.hooks.ema_hook import EMAHook
from fvq_core.training.optim_wrapper import build_optim_wrappers
from fvq_generators import BAR, RAR, VAR, Infinity, RandAR
from fvq_generators.data import RandomCodes
from fvq_generators.hooks import ShardingHook
from fvq_generators.layers import Modulation
from fvq_generators.optim import DecayByDimension
from tests.generators.tiny import GRID, NO_DROPOUT, generator_config

CASES: dict[str, dict[str, Any]] = {
    'ddp': {},
    'sharded': dict(shard='float32'),
    'sharded_checkpointing': dict(shard='float32', checkpointing=True),
}


def own_orders(targets: Targets) -> torch.Tensor:
    """An order of each image that follows from its codes: the same in any batch."""
    assert targets.codes is not None
    indices_BL = targets.codes.indices_BL
    return (indices_BL * 7 + torch.arange(indices_BL.shape[1])).remainder(13).argsort(dim=1, stable=True)


@GENERATORS.register_module()
class RandAROfOwnOrders(RandAR):
    """Orders that are no draw, so that one process and two learn the same."""

    def loss(self, targets: Targets, cond: torch.Tensor) -> dict[str, torch.Tensor]:  # pyrefly: ignore[bad-override]
        return super().loss(targets, cond, own_orders(targets))


@GENERATORS.register_module()
class RAROfOwnOrders(RAR):
    """Likewise."""

    def loss(self, targets: Targets, cond: torch.Tensor) -> dict[str, torch.Tensor]:  # pyrefly: ignore[bad-override]
        return super().loss(targets, cond, own_orders(targets))


def own_masks(bits_NS: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Three of a code's bits, which follow from them."""
    S = bits_NS.shape[1]
    place_NS = (bits_NS * 5 + torch.arange(S)).remainder(S + 3).argsort(dim=1, stable=True).argsort(dim=1)
    return torch.full((len(bits_NS),), 3 / S), place_NS < 3


@GENERATORS.register_module()
class BAROfOwnMasks(BAR):
    """Likewise, with bits that are masked by no draw, and gates that are not 0: the steps of what is next to 0 are rounding."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for module in self.modules():
            if isinstance(module, Modulation):
                torch.nn.init.normal_(module.linear.weight, std=0.1)

    def loss(self, targets: Targets, cond: torch.Tensor) -> dict[str, torch.Tensor]:  # pyrefly: ignore[bad-override]
        self.bit_head.draw_masks = own_masks
        return super().loss(targets, cond, own_orders(targets))


SIZE: dict[str, Any] = dict(layout=GRID, dim=32, depth=2, heads=4, num_classes=5, cond_dropout=0.0)
# VAR and Infinity read their tokenizer's quantizer while they train; flips would differ by rank.
OTHERS: dict[str, dict[str, Any]] = {
    'VAR': dict(
        generator=dict(type='VAR', **VAR.smoke({}), num_classes=5, cond_dropout=0.0, gate_init=1.0),
        tokenizer=VAR.smoke_tokenizer(),
    ),
    'Infinity': dict(
        generator=dict(
            type='Infinity',
            **Infinity.smoke({}),
            num_classes=5,
            cond_dropout=0.0,
            gate_init=1.0,
            modulation_init=1.0,
            flips=0.0,
        ),
        tokenizer=Infinity.smoke_tokenizer(),
    ),
    'RandAR': dict(generator=dict(type='RandAROfOwnOrders', hidden_multiple=8, **NO_DROPOUT, **SIZE)),
    'BAR': dict(generator=dict(type='BAROfOwnMasks', head_width=24, head_depth=1, class_tokens=2, **SIZE)),
    'RAR': dict(generator=dict(type='RAROfOwnOrders', width=64, dropout=0.0, attention_dropout=0.0, **SIZE)),
}
STEPS, BATCH, MICRO = 2, 4, 2
WRAPPER = dict(
    type='ClippedOptimWrapper',
    constructor=DecayByDimension,
    optimizer=dict(type='AdamW', lr=0.01, weight_decay=0.1, eps=1e-3),
    max_norm=0.5,
)


def start(case: dict[str, Any], seed: int) -> tuple[Any, Any, tuple[ShardingHook, EMAHook]]:
    """A task, its optimizers and the hooks."""
    torch.manual_seed(seed)
    options = dict(case)
    config = options.pop('generator', None) or generator_config(
        **NO_DROPOUT, cond_dropout=0.0, checkpointing=options.pop('checkpointing', False)
    )
    task = MODELS.build(dict(type='GeneratorTask', generator=config, **options))
    torch.nn.init.normal_(task.generator.head.weight, std=0.1)
    task = task.place(torch.device('cpu')).train()
    return task, build_optim_wrappers(WRAPPER, task.parts()), (ShardingHook(), EMAHook(decay=0.7))


def checkpoint_of(task: Any, optimizers: Any, hooks: Any) -> dict[str, Any]:
    """What the Runner writes: gathered by all, put together only by rank 0."""
    runner = SimpleNamespace(task=task, optim_wrapper=optimizers)
    for hook in hooks:
        hook.before_checkpoint(runner)
    if dist.is_initialized() and dist.get_rank():
        return {}
    state = {key: value.detach().cpu().clone() for key, value in task.state_dict().items()}
    checkpoint = {'state_dict': state, 'optimizer': optimizers.state_dict()}
    for hook in hooks:
        hook.before_save_checkpoint(runner, checkpoint)
    return copy.deepcopy(checkpoint)  # a file shares no memory


def steps(
    task: Any, optimizers: Any, average: EMAHook, rank: int, ranks: int, first: int, count: int
) -> list[dict[str, Any]]:
    """Losses and norm of each."""
    rng = torch.Generator().manual_seed(7)
    layout = task.generator.layout
    codes = torch.randint(min(32, layout.vocab_size), (4, MICRO, BATCH, layout.length), generator=rng)
    labels = torch.randint(5, (4, MICRO, BATCH), generator=rng)
    out = []
    runner = SimpleNamespace(task=task)
    average.before_train_epoch(runner)
    for step in range(first, first + count):
        mine = [{'codes': codes[step, m, rank::ranks], 'labels': labels[step, m, rank::ranks]} for m in range(MICRO)]
        losses = task.train_step(mine, optimizers, step)['losses']
        average.after_train_iter(runner, step)
        out.append({**losses, 'norm': optimizers['generator'].grad_norm})
    return out


def everything(task: Any, average: EMAHook) -> dict[str, Any]:
    """Weights, and their average on rank 0."""
    state = {key: value.detach().cpu().clone() for key, value in task.state_dict().items()}
    averages = {f'ema.{key}': value.clone() for key, value in task.gather(average.average).items()}
    return {**state, **({} if dist.is_initialized() and dist.get_rank() else averages)}


def validate(task: Any, rank: int, ranks: int) -> tuple[float, int]:
    """The validation loss of five images in batches of two, and how many images it is of: one rank has a batch less."""
    dataset = RandomCodes(task.generator.layout.to_dict(), images=5, classes=5)
    loader = Loader(dataset, 2, sampler=range(rank, 5, ranks), collate_fn=dataset.collate)
    loss = task.evaluate(loader, [], logging.getLogger())['val_loss']
    return loss.value, loss.samples


def train(case: dict[str, Any], rank: int, ranks: int) -> dict[str, Any]:
    """Two steps, a checkpoint, one step; and that step again by a fresh task that resumed."""
    task, optimizers, hooks = start(case, seed=rank)  # other start values on each rank: rank 0's count
    log = steps(task, optimizers, hooks[1], rank, ranks, 0, STEPS)
    saved = checkpoint_of(task, optimizers, hooks)
    log += steps(task, optimizers, hooks[1], rank, ranks, STEPS, 1)
    final = everything(task, hooks[1])
    validation = validate(task, rank, ranks)
    if ranks > 1:
        holder = [saved]
        dist.broadcast_object_list(holder, 0)
        saved = holder[0]
    again, others, other_hooks = start(case, seed=5)
    read = copy.deepcopy(saved)
    runner = SimpleNamespace(task=again, optim_wrapper=others)
    other_hooks[0].before_resume(runner, read)
    again.load_state_dict(read['state_dict'])
    others.load_state_dict(read['optimizer'])
    other_hooks[1].after_load_checkpoint(runner, read)
    steps(again, others, other_hooks[1], rank, ranks, STEPS, 1)
    resumed = everything(again, other_hooks[1])
    return {'log': log, 'saved': saved, 'final': final, 'resumed': resumed, 'validation': validation}


def local_numbers(case: dict[str, Any]) -> int:
    """Parameters that this process keeps."""
    task, _, _ = start(case, seed=0)
    return sum(p.to_local().numel() if hasattr(p, 'to_local') else p.numel() for p in task.parameters())


def train_on_rank(rank: int, name: str) -> dict[str, Any]:
    """What one of two processes ends with."""
    return {**train(CASES[name], rank, 2), 'kept': local_numbers(CASES[name])}


def train_other(rank: int, name: str, shard: str | None) -> dict[str, Any]:
    """The same of another generator."""
    return train({**OTHERS[name], 'shard': shard}, rank, 2)
