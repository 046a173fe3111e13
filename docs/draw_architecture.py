#!/usr/bin/env python
"""Draw docs/images/architecture.svg: the four packages and their rooms. `tests/test_architecture.py` compares it with them."""

from __future__ import annotations

from html import escape
from pathlib import Path

PICTURE = Path(__file__).parent / 'images/architecture.svg'
ROOMS = {
    'fvq-quantizers': {
        'projectors': 'raw codebook to mapped codebook',
        'frozen_latents': 'between the halves of an autoencoder',
        'estimators': 'how gradients pass the choice',
        'updates': 'what moves the codes',
        'regularizers': 'penalties on how codes are used',
        'inits': 'start values of the codebook',
        'normalizations': 'L2 of latents and codes',
        'distances': 'what makes a code the best one',
        'losses': 'pull codes and latents together',
        'codebook_files': 'codebooks of other networks',
        'interop': "other tokenizers' checkpoints",
        'commands': 'make_codebook',
    },
    'fvq-generators': {
        'layers': 'blocks of transformers',
        'masked': 'MaskGIT: networks, decoding',
        'diffusion': 'processes, solvers, heads',
        'ops': 'steps of decoding; kernels',
        'tasks': 'training on codes; FSDP',
        'hooks': 'logs, reports, sharding',
        'optim': 'weight decay by dimension',
        'extraction': 'codes of a whole data set',
        'codes_store': 'where codes lie on the disk',
        'data': 'data sets of codes and captions',
        'image_sets': 'samples: planned, drawn, kept',
        'interop': "other generators' checkpoints",
        'commands': 'extract_codes, sample',
    },
    'fvq-eval': {
        'metrics': 'PSNR, SSIM, codebook usage, ...',
        'features, statistics, distances': 'FID and the like',
        'samples': 'image sets that are scored',
        'presets': 'protocols, declared once',
        'reconstruction': 'tokenizers under presets',
        'generation': 'scores of generated images',
        'benchmark': 'methods under identical settings',
        'analysis': 'what the paper measures',
        'rehearsal': 'smoke runs, rehearsals on ranks',
        'hooks, plots': 'reports and pictures of a run',
        'runs, paper, reports': 'from runs to tables',
        'commands': 'test, evaluate, benchmark, ...',
    },
    'fvq-core': {
        'registry': 'names to classes, configs to objects',
        'config': 'read, override, check, compare',
        'files': 'atomic, bounded, never executed',
        'ops': 'k-means, nearest code, ranks, devices',
        'data': 'images: folders, tar files, crops, loader',
        'autoencoders': 'encoders and decoders',
        'losses': 'pixels, LPIPS, GAN, discriminators',
        'saving': 'folders, model cards, the hub',
        'training': 'Runner, Task, loops, hooks, resume',
        'interop': 'Importer: checkpoints of other projects',
        'commands': 'train, export, convert, push, ...',
    },
}
CONTRACTS = (
    'positions    codes    latents    quantizer    projector    autoencoder    tokenizer    generator    sampling_settings    '
    'metric'
)
COLOURS = {'fvq-quantizers': '#eef4fb', 'fvq-generators': '#f1f8ee', 'fvq-eval': '#fdf5e6', 'fvq-core': '#f3f1f8'}
WIDTH, BOX, LINE, GAP = 1170, 370, 22, 20


def text(x: float, y: float, content: str, style: str = '') -> str:
    return f'<text x="{x:g}" y="{y:g}" {style}>{escape(content)}</text>'


def room(x: float, y: float, name: str, purpose: str) -> str:
    spans = f'<tspan font-weight="bold">{escape(name)}</tspan><tspan dx="8" fill="#555">{escape(purpose)}</tspan>'
    return f'<text x="{x:g}" y="{y:g}">{spans}</text>'


def box(x: float, y: float, width: float, height: float, fill: str) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="8" fill="{fill}" stroke="#666"/>'


def draw() -> str:
    """The picture as SVG."""
    parts = []
    title = 'font-size="17" font-weight="bold"'
    siblings, top = list(ROOMS)[:3], GAP
    height = 44 + LINE * max(len(ROOMS[name]) for name in siblings)
    for column, name in enumerate(siblings):
        x = GAP + column * (BOX + GAP / 2)
        parts += [box(x, top, BOX, height, COLOURS[name]), text(x + 14, top + 26, name, title)]
        parts += [room(x + 14, top + 52 + LINE * row, *item) for row, item in enumerate(ROOMS[name].items())]
        middle, below = x + BOX / 2, top + height
        parts.append(f'<path d="M{middle:g} {below:g} v40" stroke="#333" stroke-width="2" marker-end="url(#arrow)"/>')
        parts.append(text(middle + 10, below + 26, 'imports', 'fill="#333" font-style="italic"'))
    below = top + height
    core, full = below + 50, WIDTH - 2 * GAP
    rows = -(-len(ROOMS['fvq-core']) // 3)
    parts += [box(GAP, core, full, 92 + LINE * rows, COLOURS['fvq-core']), text(GAP + 14, core + 26, 'fvq-core', title)]
    parts += [box(GAP + 14, core + 40, full - 28, 30, '#fff'), text(GAP + 28, core + 60, 'contracts', 'fill="#555"')]
    note = 'the siblings above never import one another: they meet here, in the registries and the contracts'
    parts.append(text(GAP + 120, core + 26, note, 'fill="#333" font-style="italic"'))
    parts.append(text(GAP + 120, core + 60, CONTRACTS, 'font-weight="bold" xml:space="preserve"'))
    for number, item in enumerate(ROOMS['fvq-core'].items()):
        column, row = divmod(number, rows)
        parts.append(room(GAP + 14 + column * (BOX + GAP / 2), core + 96 + LINE * row, *item))
    total = core + 92 + LINE * rows + GAP
    tip = '<path d="M0 0 L6 3 L0 6 z"/>'
    arrow = f'<marker id="arrow" markerWidth="8" markerHeight="8" refX="5" refY="3" orient="auto">{tip}</marker>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {total:g}" font-family="sans-serif" font-size="13">'
    background = f'<rect width="{WIDTH}" height="{total:g}" fill="#fff"/>'
    name = '<title>The four packages of FVQ, their rooms, and the contracts where they meet</title>'
    return '\n'.join([head, name, f'<defs>{arrow}</defs>', background, *parts, '</svg>', ''])


if __name__ == '__main__':
    PICTURE.write_text(draw())
