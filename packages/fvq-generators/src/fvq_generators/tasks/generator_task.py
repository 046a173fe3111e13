"""Training a generator on batches of codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from logging import Logger
from pathlib import Path
from typing import Any, Literal, cast

import torch
import torch.distributed as dist
from mmengine.dist import is_main_process
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from fvq_core.autoencoder import Autoencoder
from fvq_core.codes import CodeLayout, LatentLayout, Targets
from fvq_core.data.loader import Loader
from fvq_core.errors import SmokeError, UserError, nearest_hint
from fvq_core.generator import Generator
from fvq_core.metric import Metric, MetricValue
from fvq_core.registry import GENERATORS, MODELS, TOKENIZERS, find_component
from fvq_core.saving.read_folder import find_folder
from fvq_core.training.optim_wrapper import ClippedOptimWrapper
from fvq_core.training.tasks.task import MicroBatch, Task

from ..binding import bind_checked
from ..fingerprint import tokenizer_hash
from ..pretrained import GENERATOR, load_generator
from . import sharding
from .validation import validation_losses


@MODELS.register_module()
class GeneratorTask(Task):
    """A generator and how it is trained; its part is `generator`, and so its state-dict keys start.

    A batch is a dict: what `Generator.targets` reads, such as `codes` int64 (B, L), and `labels` int64 (B,), or for captions
    `captions` (B, T, C) and optionally `caption_mask` bool (B, T) and `valid` (B,).

    Args:
        generator: Config of a component of `GENERATORS`; `checkpointing` is an argument of it.
        compile: See `Task`; compiles the blocks, each alike, so that one compilation serves all.
        shard: Split weights, gradients and optimizer state over the processes of the run (FSDP2) if one device cannot
            hold them: `'float32'` or `'bfloat16'`, the type in which weights are gathered; needs `ShardingHook`, which is in
            `configs/_base_/schedules/llamagen_300e.py`. None copies the weights to each process (DDP).
        tokenizer: The saved autoencoder (folder, or repository on the hub) whose codes or latents are learned, for a generator
            that needs it while it trains (see `Generator.bind`), or if it trains on images. A config makes one with random
            weights, the same each time: for smoke runs.
        freeze: Parts of the generator, its children by name, that stay as they are, in eval mode.

    Raises:
        UserError: An unknown value of `shard`; when `frozen` is first read, a tokenizer that the
            generator cannot bind to.
    """

    def __init__(
        self,
        generator: Mapping[str, Any],
        compile: bool | str = False,
        shard: Literal['float32', 'bfloat16'] | None = None,
        tokenizer: str | Mapping[str, Any] | None = None,
        freeze: Sequence[str] = (),
    ) -> None:
        super().__init__(compile)
        if shard is not None and shard not in sharding.DTYPES:
            raise UserError(f"GeneratorTask: unknown shard '{shard}'; {nearest_hint(str(shard), sharding.DTYPES)}")
        self.generator: Generator = GENERATORS.build(generator)
        self.freeze(freeze)
        self.shard = shard
        self.sharded = False
        self.gathered: dict[str, Tensor] | None = None
        self.tokenizer = tokenizer

    @cached_property  # which is kept out of the module tree
    def frozen(self) -> Autoencoder | None:
        """The autoencoder, folded, and the generator bound to it; None if none is given. Loaded when it is first asked for: a
        checkpoint's generator can be exported without it. It is not trained, and not in the state dict."""
        if self.tokenizer is None:
            return None
        frozen = load_or_build(self.tokenizer).fold().requires_grad_(False).to(next(self.parameters()).device)
        bind_checked(self.generator, frozen)
        return frozen

    @cached_property
    def tokenizer_hash(self) -> str:
        """Fingerprint of that autoencoder; '' if none is given."""
        return '' if self.frozen is None else tokenizer_hash(self.frozen)

    def learned_hash(self, dataset: Any) -> str:
        """Fingerprint of the tokenizer whose codes a data set has, or that encodes its images; '' if it was not recorded."""
        return getattr(dataset, 'tokenizer_hash', '') or self.tokenizer_hash

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """The small tokenizer that the generator's class describes in `smoke_tokenizer`, in place of the saved one."""
        describe = getattr(find_component(cfg['generator']['type']), 'smoke_tokenizer', None)
        return {} if cfg.get('tokenizer') is None or describe is None else dict(tokenizer=describe())

    def check_dataset(self, dataset: Any) -> None:
        name, needed = type(self.generator).__name__, self.generator.binds_to
        if self.frozen is None and needed is not None:
            raise UserError(
                f'{name} needs the quantizer of its tokenizer while it trains; set model.tokenizer to the folder of the '
                'tokenizer that the codes were extracted with.'
            )
        layout, own = getattr(dataset, 'layout', None), self.generator.layout
        if layout is not None and type(layout) is not type(own):
            learned = 'latents' if isinstance(own, LatentLayout) else 'codes'
            how = ', of a tokenizer of codes with --unquantized' if isinstance(own, LatentLayout) else ''
            raise UserError(
                f'{name} learns {learned}, the training data are {layout}; extract {learned} with '
                f'tools/extract_codes.py{how}.'
            )
        if layout is not None and layout != own:
            raise UserError(
                f'the training codes are {layout}, the model is made for {own}; set model.generator.layout to '
                f'{layout.to_dict()}.'
            )

    def parts(self) -> dict[str, nn.Module]:
        return {'generator': self.generator}

    def codebook_size(self) -> int | None:
        layout = self.generator.layout
        return layout.vocab_size if isinstance(layout, CodeLayout) else None

    def compiled_modules(self) -> list[nn.Module]:
        return list(self.generator.blocks)

    def forward(self, targets: Targets, *condition: Tensor | None) -> dict[str, Tensor]:
        """Loss terms; see `Generator.loss`."""
        return self.ddp_module('generator')(targets, *condition)

    def load_saved(self, source: str) -> nn.Module:
        return load_generator(find_folder(source, GENERATOR))[0]

    @torch.no_grad()
    def check_export(self, work_dir: Path, batch: Any) -> str:
        device = next(self.parameters()).device
        targets, condition = self.targets(batch), self.condition(batch, device)
        saved, _ = load_generator(work_dir / 'generator')
        if self.frozen is not None:
            bind_checked(saved, self.frozen)
        losses = []
        for each in (self.generator.eval(), saved.to(device)):
            with torch.random.fork_rng([device] if device.type == 'cuda' else []):
                torch.manual_seed(0)  # a loss may draw: masks, noise
                losses.append(each(targets, *condition))
        one, other = losses
        if not all(torch.equal(one[name], other[name]) for name in one):
            raise SmokeError(f'export: the loss {other} of the saved generator is not {one} of the trained one.')
        return f'{work_dir / "generator"} gives the same loss'

    def place(self, device: torch.device, ddp: Mapping[str, Any] | None = None) -> Task:
        if self.frozen is not None:
            self.frozen.to(device)
        if self.shard is None or not dist.is_initialized():
            return super().place(device, ddp)
        if ddp:
            raise UserError(
                f'ddp: {", ".join(ddp)} belong to copies of the weights (DDP), and model.shard splits them (FSDP2); leave one '
                "out. model.shard='bfloat16' halves what is gathered."
            )
        self.to(device)
        if self.compile_parts:
            for module in self.compiled_modules():
                module.compile(backend='inductor' if self.compile_parts is True else self.compile_parts)
        sharding.shard_module(self.generator, list(self.generator.blocks), device, sharding.DTYPES[self.shard])
        self.sharded = True
        return self

    def no_sync_if(self, stay: bool) -> AbstractContextManager[None]:
        if not self.sharded:
            return super().no_sync_if(stay)
        cast(Any, self.generator).set_requires_gradient_sync(not stay)
        return nullcontext()

    def gather(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return sharding.gather(state, is_main_process()) if self.sharded else super().gather(state)

    def scatter(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if not self.sharded:
            return super().scatter(state)
        own = self.local_state()
        return {key: sharding.like(value, own[key]) for key, value in state.items()}

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As in nn.Module. Sharded weights are gathered to the CPU; every rank must call this.

        Inside `ShardingHook`, only rank 0 gets what was gathered before.
        """
        if self.gathered is not None:
            return self.gathered
        state = super().state_dict(*args, **kwargs)
        return sharding.gather(state, keep=True) if self.sharded else state

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        if not self.sharded:
            return super().load_state_dict(state_dict, strict, assign)
        return super().load_state_dict(self.scatter(state_dict), strict)

    def condition(self, data: Mapping[str, Any], device: torch.device) -> tuple[Tensor | None, ...]:
        """What the generator's loss takes beside codes: the condition, and for captions mask and weights."""
        name = 'captions' if self.generator.num_classes is None else 'labels'
        if data.get(name) is None:
            raise UserError(f"GeneratorTask: the batch has no '{name}', its keys are {', '.join(data)}.")
        cond: Tensor = data[name]
        if not cond.is_cuda:  # before it is on its way: looking at it there would wait for the device
            self.generator.check_condition(cond)
        given = [cond, data.get('caption_mask'), data.get('valid')]
        while given[-1] is None:  # the loss of a generator of classes need not take a mask
            given.pop()
        return tuple(None if value is None else value.to(device, non_blocking=True) for value in given)

    def targets(self, data: Mapping[str, Any]) -> Targets:
        """What the generator learns from a batch; see `Generator.targets`."""
        return self.generator.targets(data, self.frozen)

    def evaluate(
        self,
        loader: Loader,
        metrics: Sequence[Metric],
        logger: Logger,
        after_batch: Callable[..., None] | None = None,
    ) -> dict[str, MetricValue]:
        """See `validation_losses`; raises if there are metrics, which are of reconstructions."""
        if metrics:
            raise UserError(
                f'val_evaluator: {type(metrics[0]).__name__} is of reconstructions; a generator is validated by its loss, '
                'leave val_evaluator out.'
            )
        return validation_losses(self, loader, logger, after_batch)

    def backward(
        self, batch: Mapping[str, Any], optimizers: Mapping[str, OptimWrapper], micro_batches: int
    ) -> MicroBatch:
        """See `Task`; the codes are those of the targets.

        Images are encoded in the run's precision, and their codes searched in float32. Continuous latents, which are targets
        themselves, are made in float32.
        """
        device, precision = next(self.parameters()).device, optimizers['generator'].optim_context(self)
        with precision if isinstance(self.generator.layout, CodeLayout) else nullcontext():
            targets = self.targets(batch)
        with optimizers['generator'].optim_context(self):
            losses = self(targets, *self.condition(batch, device))
        losses = {'total': torch.stack(list(losses.values())).sum(), **losses}
        optimizers['generator'].backward(losses['total'] / micro_batches)
        indices_BL = None if targets.codes is None else targets.codes.indices_BL
        return MicroBatch({name: value.detach() for name, value in losses.items()}, len(targets), indices_BL)

    def after_step(self, optimizers: Mapping[str, OptimWrapper]) -> None:
        optimizer = cast(ClippedOptimWrapper, optimizers['generator'])
        if self.sharded and optimizer.grad_norm is not None:
            optimizer.grad_norm = sharding.whole(optimizer.grad_norm)  # each process held a part of it


def load_or_build(tokenizer: str | Mapping[str, Any]) -> Autoencoder:
    """The saved autoencoder of a folder or repository, or one of a config with random weights, the same each time."""
    if isinstance(tokenizer, str):
        return Autoencoder.from_pretrained(tokenizer)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return TOKENIZERS.build(tokenizer)
