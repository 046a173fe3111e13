#!/usr/bin/env python
"""Bytes that a rank sends per training step of a generator: DDP, DDP with bf16_compress, and FSDP2, on two gloo ranks.

    python benchmarks/communication.py --json

The collectives of one training step are counted (`fvq_core.ops.collectives`, bytes of a ring), and compared with the closed
form: parameters x bytes x collectives. The remainder are scalars and the sizes of buckets. Bytes depend only on shapes, so a
small generator stands for a large one; time is not measured.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
from typing import Any

import torch
import torch.distributed as dist

from fvq_core.ops.collectives import SENT, CountCollectives
from fvq_core.registry import MODELS, load_plugins
from fvq_core.training.optim_wrapper import build_optim_wrappers

RANKS = 2
WAYS: dict[str, dict[str, Any]] = {
    'DDP': {},
    'DDP, bf16_compress': dict(ddp=dict(bf16_compress=True)),
    'FSDP2, float32': dict(shard='float32'),
    'FSDP2, bfloat16': dict(shard='bfloat16'),
}
WRAPPER = dict(type='ClippedOptimWrapper', optimizer=dict(type='AdamW', lr=1e-4), max_norm=1.0)


def closed_form(way: str, blocks: int, rest: int, ranks: int) -> float:
    """Bytes that a rank sends in a step.

    DDP sums each gradient once. FSDP2 gathers a block for the forward pass and again for the backward pass, the rest of the
    module once (it stays whole in between), and scatters the sums of all gradients in float32.

    Args:
        way: A key of `WAYS`.
        blocks: Parameters in blocks.
        rest: Parameters outside blocks.
        ranks: Number of processes.
    """
    if way.startswith('DDP'):
        return SENT['all_reduce'](ranks) * (blocks + rest) * (2 if 'bf16' in way else 4)
    gathered = SENT['all_gather'](ranks) * (2 * blocks + rest) * (2 if 'bfloat16' in way else 4)
    return gathered + SENT['reduce_scatter'](ranks) * (blocks + rest) * 4


def count(rank: int, way: str, generator: dict[str, Any]) -> dict[str, Any]:
    """One training step of this rank in a process group: its collectives, beside the closed form."""
    options = dict(WAYS[way])
    ddp = options.pop('ddp', None)
    task = MODELS.build(dict(type='GeneratorTask', generator=generator, **options))
    blocks = sum(p.numel() for p in task.generator.blocks.parameters())
    rest = sum(p.numel() for p in task.generator.parameters()) - blocks
    task = task.place(torch.device('cpu'), ddp).train()
    optimizers = build_optim_wrappers(WRAPPER, task.parts())
    layout = generator['layout']
    codes = torch.randint(layout['codebook_size'], (2, layout['height'] * layout['width']))
    batch = {'codes': codes, 'labels': torch.randint(generator['num_classes'], (2,))}
    with CountCollectives() as counted:
        task.train_step([batch], optimizers, 0)
    expected = closed_form(way, blocks, rest, dist.get_world_size())
    kinds = sorted({call.kind for call in counted.calls})
    return dict(
        parameters=blocks + rest,
        collectives={kind: counted.number(kind) for kind in kinds},
        bytes_sent=counted.sent(),
        closed_form=expected,
        bytes_a_parameter=round(counted.sent() / (blocks + rest), 3),
    )


def serve(rank: int, rendezvous: str, generator: dict[str, Any], results: Any) -> None:
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{rendezvous}', rank=rank, world_size=RANKS)
    torch.manual_seed(0)
    found = {way: count(rank, way, generator) for way in WAYS}
    if rank == 0:
        results.put(found)
    dist.barrier()
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--dim', type=int, default=256, help='channels of the generator; default %(default)s')
    parser.add_argument('--depth', type=int, default=4, help='blocks of the generator; default %(default)s')
    parser.add_argument('--codes', type=int, default=16384, help='codebook size; default %(default)s')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    args = parser.parse_args()
    load_plugins()
    layout = dict(type='Grid', height=4, width=4, codebook_size=args.codes)
    generator = dict(type='LlamaGen', layout=layout, dim=args.dim, depth=args.depth, heads=4, num_classes=1000)
    context = multiprocessing.get_context('spawn')
    results = context.SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        ranks = [
            context.Process(target=serve, args=(rank, f'{folder}/rendezvous', generator, results))
            for rank in range(RANKS)
        ]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join()
        if any(process.exitcode for process in ranks):
            raise SystemExit(f'exit codes of the ranks: {[process.exitcode for process in ranks]}')
        found = results.get()
    if args.json:
        print(json.dumps({'ranks': RANKS, 'ways': found}))
        return
    for way, each in found.items():
        print(
            f'{way:20} {each["bytes_sent"] / 1e6:8.2f} MB sent, closed form {each["closed_form"] / 1e6:8.2f}, '
            f'{each["bytes_a_parameter"]} bytes a parameter; {each["collectives"]}'
        )


if __name__ == '__main__':
    main()
