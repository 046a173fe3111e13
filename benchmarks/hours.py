#!/usr/bin/env python
"""Hours of full training on 1, 8 and 16 GPUs, and batches that fit into 40 and 80 GB, from the results of `make gpu-check`.

    python benchmarks/hours.py

Reads the sections train-step and train-step-compiled of every file in docs/gpu. Nothing is measured here: hours assume
linear scaling, and that a GPU is as fast with its share of the batch of 128 as with the batch that was measured.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fvq_core.files.json import read_json_object

REPO = Path(__file__).parents[1]
IMAGES = 1_281_167
EPOCHS = (40, 120)
CARDS = (1, 8, 16)
MEMORY_GIB = (40, 80)
USABLE = 0.9  # of a card: the CUDA context, fragments and a margin take the rest
STATE_GIB = 82e6 * 16 / 2**30  # fvq_16k and its discriminator: weights, gradients and two moments in float32
NOTHING = 'not yet measured: run make gpu-check, then benchmarks/hours.py'


def measured(folder: Path) -> Iterator[dict[str, Any]]:
    """The recorded steps with the discriminator on, of every card."""
    for path in sorted(folder.glob('*.json')):
        record = read_json_object(path)
        for section in ('train-step', 'train-step-compiled'):
            output = record.get('sections', {}).get(section, {}).get('output')
            if output is None:  # it was killed or failed
                continue
            for name, way in output['ways'].items():
                step = way['after']
                if step['peak_gib'] is not None:
                    yield dict(card=record['card'], way=name, batch=output['batch'], **step)


def computed(step: dict[str, Any]) -> dict[str, Any]:
    """Hours by number of cards, for each of `EPOCHS`, and the largest batch by GiB of a card."""
    an_image = (step['peak_gib'] - STATE_GIB) / step['batch']
    return {
        'hours': {n: [epochs * IMAGES / (n * step['images_per_second']) / 3600 for epochs in EPOCHS] for n in CARDS},
        'fits': {gib: max(0, int((gib * USABLE - STATE_GIB) / an_image)) for gib in MEMORY_GIB},
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--records',
        type=Path,
        default=REPO / 'docs/gpu',
        help='folder with results of make gpu-check; default docs/gpu',
    )
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    args = parser.parse_args(arguments)
    steps = [{**step, **computed(step)} for step in measured(args.records)]
    if args.json:
        print(json.dumps({'computed': steps}))
    elif not steps:
        print(NOTHING)
    else:
        cards = ' | '.join(f'hours on {n}' for n in CARDS)
        batches = ' | '.join(f'batch in {gib} GB' for gib in MEMORY_GIB)
        print(f'Computed; hours of {EPOCHS[0]} / {EPOCHS[1]} epochs.\n')
        print(f'| card, way | images/s | peak GiB at batch | {cards} | {batches} |')
        print('|' + '---|' * (3 + len(CARDS) + len(MEMORY_GIB)))
        for step in steps:
            hours = ' | '.join(' / '.join(f'{each:,.1f}' for each in step['hours'][n]) for n in CARDS)
            fits = ' | '.join(str(step['fits'][gib]) for gib in MEMORY_GIB)
            measured_here = f'{step["images_per_second"]:,.0f} | {step["peak_gib"]} at {step["batch"]}'
            print(f'| {step["card"]}, {step["way"]} | {measured_here} | {hours} | {fits} |')


if __name__ == '__main__':
    main()
