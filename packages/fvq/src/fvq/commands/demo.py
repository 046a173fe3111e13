"""Explore tokenizers in a browser: photos, reconstructions, codes, comparisons, generators and codebooks."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from fvq_core.commands.command import add_device, command, make_parser

EXAMPLE = """\
  tools/demo.py                                             # the models in work_dirs, such as that of `make train`
  tools/demo.py work_dirs/fvq_photos/tokenizer user/name    # two tokenizers, one from the Hugging Face hub
  tools/demo.py --generators work_dirs/llamagen_photos/generator
  tools/demo.py my_tokenizer --host 0.0.0.0                 # open to everyone who can reach this machine
  tools/demo.py my_tokenizer --space my_space               # write a Hugging Face Space, ready to push

Without --host and --share only this machine reaches the page. Photos are kept in a temporary folder, which is removed at the
end. Nothing is sent anywhere, and no font or script is fetched."""


@command
def main(argv: Sequence[str] | None) -> None:
    parser = make_parser('demo.py', __doc__ or '', EXAMPLE)
    add = parser.add_argument
    add(
        'tokenizers',
        nargs='*',
        metavar='TOKENIZER',
        help='saved tokenizers: folders written by training or "fvq export", or user/name on the hub; default: those in '
        'work_dirs, else fvq_photos, which comes with FVQ',
    )
    add(
        '--generators',
        nargs='+',
        default=[],
        metavar='GENERATOR',
        help='saved generators: folders, or user/name on the hub',
    )
    add('--host', default='127.0.0.1', help='address to listen on; 0.0.0.0 lets other machines in; default 127.0.0.1')
    add('--port', type=int, help='port to listen on; default: the first free one from 7860')
    add('--share', action='store_true', help='also serve through a public gradio.live link, open to anyone who has it')
    add(
        '--hub',
        action='store_true',
        help='let visitors load more tokenizers from the hub; always on if only this machine reaches the page',
    )
    add('--space', metavar='OUT', help='write a Hugging Face Space to this folder instead of serving the page')
    add_device(parser)
    args = parser.parse_args(argv)

    from fvq_core.errors import UserError

    if find_spec('gradio') is None:
        raise UserError('the demo needs gradio; pip install "fvq[demo]", or make extras in a clone.')

    from fvq_core.ops.distributed import choose_device

    from ..demo.models import Models, trained_here
    from ..demo.serve import LOCALHOST, serve
    from ..demo.space import write_space

    tokenizers, generators = args.tokenizers, args.generators
    if not tokenizers and not generators:
        tokenizers, generators = trained_here()
        tokenizers = tokenizers or ['fvq_photos']  # which comes with FVQ
    if args.space is not None:
        write_space(args.space, tokenizers, generators)
        print(f'{args.space}: ready; push it with: hf upload user/name {args.space} . --repo-type space')
        return
    from_hub = args.hub or (args.host == LOCALHOST and not args.share)
    serve(Models(tokenizers, generators, choose_device(args.device), from_hub), args.host, args.port, args.share)
