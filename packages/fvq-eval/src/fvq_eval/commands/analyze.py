"""Plot the paper's analyses of vector quantization: 2-D toy, t-SNE of codes, usage curves, biases of training."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from fvq_core.commands.command import add_json, add_weights, command, give, make_parser

EXAMPLE = """\
  tools/analyze.py toy --seeds 0 1 2 --out work_dirs/toy
  tools/analyze.py tsne work_dirs/fvq_photos work_dirs/vq/iter_100.pth work_dirs/vq/iter_400.pth
  tools/analyze.py curves work_dirs/photos_ablation
  tools/analyze.py size work_dirs/sizes
  tools/analyze.py probe work_dirs/photos_ablation     # runs with a GradientProbeHook"""


@command
def main(argv: Sequence[str] | None) -> None:
    parser = make_parser('analyze.py', __doc__ or '', EXAMPLE)
    commands = parser.add_subparsers(dest='what', required=True, metavar='{toy,tsne,curves,size,probe}')
    add_toy(commands.add_parser('toy', help='figure 2, left: trajectories of latents and codes in two dimensions'))
    add_tsne(commands.add_parser('tsne', help='figure 2, right: t-SNE of the mapped codebook and latents'))
    for name, text in (
        ('curves', 'figure 3: usage, loss and D(P_z, C) over iterations; a line per config, a band over seeds'),
        ('size', 'figure 7: loss against codebook size; a line per projector'),
        ('probe', 'appendices D and E: straight-through bias and one-step-behind shift over iterations'),
    ):
        runs = commands.add_parser(name, help=text)
        runs.add_argument(
            'work_dirs', nargs='+', help='work dirs of tools/train.py, or folders that contain some; may be unfinished'
        )
    for name, parsed in commands.choices.items():
        parsed.add_argument('--out', default=f'work_dirs/analysis/{name}', help='output folder; default %(default)s')
        add_json(parsed, JSON[name])
    args = parser.parse_args(argv)
    RUN[args.what](args)


def add_toy(parser: argparse.ArgumentParser) -> None:
    """Arguments of `toy`."""
    parser.add_argument(
        '--methods',
        nargs='+',
        metavar='NAME',
        help='methods to compare; default vq linear vqbridge; also vq_spread, linear_uniform, mlp5, vqbridge_uniform',
    )
    parser.add_argument('--config', help='a Python config whose `methods` adds your own: names to quantizers')
    parser.add_argument(
        '--seeds', nargs='+', type=int, default=[0], help='random seeds; the first one is plotted; default 0'
    )
    for name, kind, default, text in (
        ('codes', int, 32, 'codes in the codebook'),
        ('latents', int, 192, 'latents'),
        ('steps', int, 400, 'training steps'),
        ('lr', float, 0.03, 'learning rate'),
    ):
        parser.add_argument(f'--{name}', type=kind, default=default, help=f'{text}; default %(default)s')


def add_tsne(parser: argparse.ArgumentParser) -> None:
    """Arguments of `tsne`."""
    parser.add_argument(
        'sources', nargs='+', help='checkpoints (iter_N.pth), work dirs (their newest checkpoint) or saved tokenizers'
    )
    parser.add_argument(
        '--images', nargs='+', default=(), metavar='FILE', help='image files to encode instead of the evaluation set'
    )
    parser.add_argument(
        '--count', type=int, default=256, help='images to encode from the evaluation set; default %(default)s'
    )
    parser.add_argument('--codes', type=int, default=1024, help='most codes to plot; default %(default)s')
    parser.add_argument('--latents', type=int, default=1024, help='most latents to plot; default %(default)s')
    parser.add_argument('--perplexity', type=float, default=30.0, help='perplexity of t-SNE; default %(default)s')
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of the subset plotted and of t-SNE; default %(default)s'
    )
    add_weights(parser)


def toy(args: argparse.Namespace) -> None:
    from fvq_core.config.read import read_config_file
    from fvq_core.errors import UserError, nearest_hint

    from ..analysis.toy import METHODS, SHOWN, Toy
    from ..reports.analysis_reports import report_toy

    own = dict(read_config_file(args.config).get('methods') or {}) if args.config else {}
    known = {**METHODS, **own}
    names = args.methods or [*SHOWN, *own]
    for name in names:
        if name not in known:
            raise UserError(f"--methods: there is no '{name}'; {nearest_hint(name, known)}")
    setting = Toy(codes=args.codes, latents=args.latents, steps=args.steps, lr=args.lr)
    document = report_toy(setting, {name: known[name] for name in names}, args.seeds, args.out)
    for result in document['results']:
        end = result['end']
        print(
            f'{result["method"]:12s} seed {result["seed"]}: usage {end["usage"]:5.1f} %, moved {end["moved"]:5.1f} %, '
            f'D(P_z, C) {end["estimation_error"]:.4f}, task loss {end["task_loss"]:.4f}, detour x{result["detour"]:.2f}'
        )
    print(f'{args.out}: toy.png, toy_curves.png, toy.csv, toy.json')
    give(document)


def tsne(args: argparse.Namespace) -> None:
    from fvq_core.errors import UserError
    from fvq_core.progress import Progress

    from ..analysis.sources import image_batches, load_source
    from ..analysis.tsne import make_map
    from ..plots.tsne_plot import plot_maps
    from ..reports.output_files import make_folder

    if min(args.count, args.codes, args.latents) < 1:
        raise UserError('--count, --codes and --latents must be 1 or more.')
    maps = []
    for source in Progress.each(args.sources, 'maps by t-SNE', len(args.sources), 'tokenizer'):
        tokenizer, loader, name = load_source(source, args.weights)
        batches = image_batches(loader, args.images, args.count, tokenizer.downsample_factor)
        maps.append(make_map(name, tokenizer, batches, args.codes, args.latents, args.perplexity, args.seed))
        last = maps[-1]
        print(f'{name}: {last.images} images ({last.tokens} tokens) use {last.used} of {last.codes} codes')
    plot_maps(maps, make_folder(args.out) / 'tsne.png')
    print(f'{args.out}: tsne.png')
    give([{key: getattr(each, key) for key in ('name', 'used', 'codes', 'tokens', 'images')} for each in maps])


def curves(args: argparse.Namespace) -> None:
    from ..plots.run_curves_plot import PROBE, USAGE
    from ..reports.analysis_reports import report_curves
    from ..runs.run import find_runs

    names = report_curves(find_runs(args.work_dirs), PROBE if args.what == 'probe' else USAGE, args.what, args.out)
    print(f'{args.out}: {args.what}.png and {args.what}.csv with {", ".join(names)}')
    give(names)


def size(args: argparse.Namespace) -> None:
    from ..reports.analysis_reports import report_sizes
    from ..runs.run import find_runs

    table = report_sizes(find_runs(args.work_dirs), args.out)
    for row in table:
        shown = ', '.join(f'{key} {value:.4g}' for key, value in list(row.items())[4:] if value is not None)
        print(f'{row["line"]}, K = {row["codebook_size"]}, seed {row["seed"]}: {shown}')
    print(f'{args.out}: size_curves.png, size.png, size.csv')
    give(table)


JSON = {
    'toy': 'what toy.json holds',
    'tsne': 'a list of name, used, codes, tokens, images',
    'curves': 'a list of the lines',
    'probe': 'a list of the lines',
    'size': 'a list of the rows of size.csv',
}
RUN = {'toy': toy, 'tsne': tsne, 'curves': curves, 'probe': curves, 'size': size}
