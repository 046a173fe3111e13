"""Convert another project's checkpoint to an FVQ folder."""

from __future__ import annotations

import re
from argparse import BooleanOptionalAction
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from fvq_core.commands.command import add_weights, command, make_parser

EXAMPLE = """\
  tools/convert.py llamagen vq_ds16_c2i.pt llamagen_vq16
  tools/convert.py fvq fvq_16k.pt fvq_16k
  tools/convert.py var vae_ch160v4096z32.pth var
  tools/convert.py fvq fvq_rqvae.pt fvq_rqvae --depth 4
  tools/convert.py optvq optvq-16x16x4.safetensors optvq                 # also ibq, open-magvit2
  tools/convert.py titok tokenizer_titok_l32.bin titok_l32
  tools/convert.py mar-kl kl16.ckpt vae_mar                              # continuous; also ldm-kl, diffusers-kl
  tools/convert.py llamagen-gpt c2i_XL_384.pt llamagen_xl --grid 24 24   # a generator"""


@command
def main(argv: Sequence[str] | None) -> None:
    parser = make_parser('convert.py', __doc__ or '', EXAMPLE)
    add = parser.add_argument
    add('peer', help=f'project that the checkpoint comes from: {", ".join(peers())}')
    add(
        'checkpoint',
        help='weights or a training checkpoint (.pt, .pth, .ckpt, .bin, .safetensors); code in it is never run',
    )
    add('out', help='output folder for config.json, model.safetensors and a model card')
    add('--l2-norm', action=BooleanOptionalAction, help='l2-normalize codes and latents; default: as the project does')
    add(
        '--fold-label',
        type=int,
        help='FVQ, class-conditional bridge: class whose codebook to keep; 1000 is the null class',
    )
    add('--depth', type=int, help='residual FVQ (4 in the release) and ViT-VQGAN: codes per position')
    add('--scales', type=int, nargs='+', help='VAR, Infinity: the scales; default: as published')
    add('--phi-ratio', type=float, help='VAR: quant_resi of the multi-scale tokenizer; 0.5 in the release')
    add('--space-to-depth', type=int, nargs=2, help='RQ-VAE: rows and columns of latents per code, if not square')
    add('--heads', type=int, help="attention heads; default: those of the published size, in FVQ's bridge 4")
    add('--grid', type=int, nargs=2, help="rows and columns of a generator's codes; default 16 16")
    add(
        '--latent-scale',
        type=float,
        help='scale of continuous latents; default: 0.18215 for f8 with 4 channels, 0.2325 for MAR',
    )
    add('--latent-shift', type=float, help='shift of continuous latents; default 0')
    add('--proxy', help='TiTok, stage 1: folder of the tokenizer whose codes it predicts')
    add('--norm-groups', type=int, help="groups of the group norms (diffusers' norm_num_groups); default 32")
    add(
        '--transport',
        action='store_true',
        default=None,
        help='OptVQ: optimal transport over the batch in evaluation too, as its own code',
    )
    add('--head-width', type=int, help='ViT-VQGAN, ADM: channels per attention head; default 64')
    add(
        '--noise-schedule', help='ADM: noise schedule, linear or cosine; default: that of the release with these levels'
    )
    add(
        '--new-attention-order',
        action=BooleanOptionalAction,
        help='ADM: qkv maps hold all queries first; default: as in the release with these levels',
    )
    add(
        '--causal',
        action='store_true',
        default=None,
        help='UniTok: causal attention, as in its first release, which has the same keys',
    )
    add_weights(parser)
    options = vars(parser.parse_args(argv))
    peer, checkpoint, out, choice = (options.pop(name) for name in ('peer', 'checkpoint', 'out', 'weights'))

    from fvq_core.interop.convert import convert_file, find_importer
    from fvq_core.saving.read_folder import read_config

    model = convert_file(peer, checkpoint, out, choice, **options)
    importer = find_importer(peer, {})
    print(f'{out}: {importer.summary(model)}, from {read_config(out, importer.kind)["weights"]}')


def peers() -> list[str]:
    """The names of our importers, read from their source: to import them all, as their registry does, takes seconds."""
    found = (find_spec(package) for package in ('fvq_quantizers', 'fvq_generators'))
    rooms = [Path(folder, 'interop') for each in found if each for folder in each.submodule_search_locations or ()]
    sources = (file.read_text(encoding='utf-8') for room in rooms for file in room.glob('*.py'))
    return sorted(name for text in sources for name in re.findall(r"@IMPORTERS.register_module\(name='(.+?)'\)", text))
