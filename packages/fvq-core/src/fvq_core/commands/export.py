"""Write the folded tokenizer of a checkpoint: same codes, same pixels, no projector, no training state."""

from __future__ import annotations

from collections.abc import Sequence

from .command import add_weights, command, make_parser

EXAMPLE = """\
  tools/export.py work_dirs/fvq_photos/iter_1600.pth my_tokenizer
  python -c "from fvq_core.tokenizer import Tokenizer; print(Tokenizer.from_pretrained('my_tokenizer'))\""""


@command
def main(argv: Sequence[str] | None) -> None:
    parser = make_parser('export.py', __doc__ or '', EXAMPLE)
    add = parser.add_argument
    add('checkpoint', help='an iter_N.pth; it carries its config as data')
    add('out', help='folder to write: config.json, model.safetensors and a model card')
    add('--fold-label', type=int, help='the class whose codebook is kept, for a class-conditional bridge')
    add('--config', help='its config file, if that registers parts of the model and no installed plug-in does')
    add_weights(parser)
    args = parser.parse_args(argv)

    from ..config.read import load_config
    from ..errors import UserError
    from ..training.checkpoint import read_checkpoint
    from ..training.load_task import load_task

    checkpoint = read_checkpoint(args.checkpoint)
    cfg = load_config(args.config) if args.config else None
    task = load_task(checkpoint, args.checkpoint, cfg, args.weights).eval()
    tokenizer = task.autoencoder()
    if tokenizer is None:
        raise UserError(f'{args.checkpoint} is a checkpoint of a {type(task).__name__}, which trains no tokenizer.')
    weights = f'{args.checkpoint}{task.weights_note}'
    meta = checkpoint.get('meta', {})
    versions = {'fvq': meta.get('fvq_version'), 'torch': meta.get('torch_version')}
    facts = {'weights': weights, 'seed': meta.get('seed'), 'versions': versions}
    tokenizer.fold(args.fold_label).save_pretrained(args.out, facts)
    print(f'{args.out}: folded tokenizer of {weights}')
