"""Precompute caption features for a text-to-image generator: one .npy file per image, as LlamaGen does."""

from __future__ import annotations

from collections.abc import Sequence

from fvq_core.commands.command import add_device, add_launcher, command, make_parser

EXAMPLE = """\
  tools/extract_captions.py google/flan-t5-xl data/laion_coco data/captions/laion_coco        # 00/17.txt beside 00/17.jpg
  tools/extract_captions.py google/flan-t5-xl prompts.txt prompts --device cpu                # one caption per line
  tools/sample.py llamagen_xl_t2i vq_ds16_t2i --captions prompts --num 8 --cfg 7.5 --out from_text
Run the same command again to continue an interrupted extraction; changed captions are encoded again. Any T5, mT5, UMT5 or CLIP
text encoder of transformers works; set the generator's caption_dim to its channels and caption_tokens to --tokens. Requires
pip install 'fvq-generators[captions]'."""


@command
def main(argv: Sequence[str] | None) -> None:
    parser = make_parser('extract_captions.py', __doc__ or '', EXAMPLE)
    add = parser.add_argument
    add('encoder', help='text encoder with safetensors weights: a folder or a hub repository')
    add('captions', help='a folder of .txt files, or a text file with one CAPTION or NAME<tab>CAPTION per line')
    add(
        'out',
        help='output folder; continues an interrupted extraction and encodes changed captions again',
    )
    add('--prune', action='store_true', help='remove features whose captions are gone; default: an error')
    add('--tokens', type=int, default=120, help='truncate captions to this many tokens; default 120, as LlamaGen')
    add('--batch-size', type=int, default=16, help='captions per forward pass; default 16')
    add(
        '--precision',
        choices=('float32', 'bfloat16'),
        default='float32',
        help='precision of the encoder; default float32',
    )
    add_device(parser)
    add_launcher(parser)
    args = parser.parse_args(argv)

    import torch.distributed as dist
    from mmengine.dist import get_dist_info

    from fvq_core.errors import UserError
    from fvq_core.ops.distributed import choose_device, find_launcher, join_group
    from fvq_core.ops.ranks import broadcast_result
    from fvq_core.progress import Progress

    from ..extraction.captions import read_captions
    from ..extraction.features_folder import claim_folder, write_features
    from ..extraction.text_encoder import TextEncoder
    from ..image_generator import PRECISIONS

    if args.batch_size < 1:
        raise UserError(f'--batch-size must be 1 or more, got {args.batch_size}.')
    captions = read_captions(args.captions)
    join_group(find_launcher(args.launcher), args.device)
    encoder = TextEncoder(args.encoder, args.tokens, choose_device(args.device), PRECISIONS[args.precision])
    rank, world_size = get_dist_info()
    facts = dict(encoder=args.encoder, tokens=encoder.tokens, precision=args.precision)
    missing = broadcast_result((lambda: claim_folder(args.out, facts, captions, args.prune)) if rank == 0 else None)
    own = {name: captions[name] for name in missing[rank::world_size]}
    with Progress('encoding captions', len(own), rank, world_size, print, 'caption') as progress:
        write_features(encoder, own, args.out, args.batch_size, progress.advance)
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
    if rank == 0:
        print(f'{args.out}: features of {len(captions):,} captions, {len(missing):,} of them new')
