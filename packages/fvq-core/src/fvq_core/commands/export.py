"""Write the folded tokenizer of a checkpoint: same codes, same pixels, no projector, no training state."""

from __future__ import annotations

from collections.abc import Sequence

from .command import add_weights, command, make_parser

EXAMPLE = """\
  tools/export.py work_dirs/fvq_photos/iter_400.pth my_tokenizer
  python -c "from fvq_core.tokenizer import Tokenizer; print(Tokenizer.from_pretrained('my_tokenizer'))\""""


@command
def main(argv: Sequence[str] | None) -> None:
    parser = make_parser('export.py', __doc__ or '', EXAMPLE)
    parser.add_argument('checkpoint', help='an iter_N.pth; the config is read from it')
    parser.add_argument('out', help='folder to write: config.json, model.safetensors and a model card')
    parser.add_argument(
        '--fold-label', type=int, help='the class whose codebook is kept, for a class-conditional bridge'
    )
    add_weights(parser)
    args = parser.parse_args(argv)

    from ..evaluation import load_task
    from ..runner.checkpoint import read_checkpoint

    checkpoint = read_checkpoint(args.checkpoint)
    task = load_task(checkpoint, args.checkpoint, weights=args.weights).eval()
    weights = f'{args.checkpoint}{task.weights_note}'
    meta = checkpoint['meta']
    facts = {
        'weights': weights,
        'seed': meta['seed'],
        'versions': {'fvq': meta['fvq_version'], 'torch': meta['torch_version']},
    }
    task.tokenizer.fold(args.fold_label).save_pretrained(args.out, facts)
    print(f'{args.out}: folded tokenizer of {weights}')
