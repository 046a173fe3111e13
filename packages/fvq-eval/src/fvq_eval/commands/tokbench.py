"""What `evaluate` does with annotations of TokBench: words or faces in a folder of reconstructions."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fvq_core.commands.command import give

from .options import in_json

if TYPE_CHECKING:
    from fvq_core.metric import MetricValue


def add_tokbench(parser: argparse.ArgumentParser) -> None:
    """Options of words and faces."""
    annotations = parser.add_mutually_exclusive_group()
    annotations.add_argument(
        '--text',
        metavar='FILE',
        help='TokBench text annotations: only score how well the words in a folder of reconstructions (same size as the '
        'originals) can be read',
    )
    parser.add_argument(
        '--recognizer', metavar='FILE', help='with --text: TorchScript text recognizer; its code is run'
    )
    parser.add_argument(
        '--characters',
        metavar='FILE',
        help="with --text: text file with the recognizer's characters in order, on one line",
    )
    annotations.add_argument(
        '--faces',
        metavar='FILE',
        help='TokBench face annotations: only score how similar the faces in a folder of reconstructions are to those in '
        '--originals',
    )
    parser.add_argument('--originals', metavar='DIR', help='with --faces: folder of the original images')
    parser.add_argument(
        '--face-network', metavar='FILE', help='with --faces: TorchScript face embedding network; its code is run'
    )
    parser.add_argument(
        '--setting',
        type=int,
        choices=(256, 512, 1024),
        default=256,
        help='with --text or --faces: size that images were resized to, in pixels; default %(default)s',
    )


def score_tokbench(args: argparse.Namespace) -> None:
    """Print, and write, the scores of words or of faces."""
    from fvq_core.errors import UserError
    from fvq_core.files.json import write_json
    from fvq_core.stamp import versions

    if args.reference or args.row:
        raise UserError('--text and --faces take no --reference and no --row.')
    metrics, noun = (read_text(args), 'words') if args.text else (compare_faces(args), 'faces')
    for name, metric in metrics.items():
        print(f'{name:20s} {metric!s:>10s}   {metric.samples} {noun}; {metric.stamp}')
    document = {'metrics': in_json(metrics), 'samples': str(args.samples), 'versions': versions()}
    if args.out:
        write_json(Path(args.out), document)
    give(document)


def read_text(args: argparse.Namespace) -> dict[str, MetricValue]:
    """How well the words of reconstructions can be read."""
    from fvq_core.errors import UserError
    from fvq_core.files.bounded import read_bounded
    from fvq_core.ops.distributed import choose_device

    from ..reconstruction.tokbench.text_reading import read_words, score_text
    from ..reconstruction.tokbench.text_recognizer import TextRecognizer

    if not args.recognizer or not args.characters:
        raise UserError('--text needs --recognizer and --characters.')
    words = read_words(args.text)
    try:
        characters = read_bounded(args.characters, 2**16, 'name a line of text').decode().strip('\r\n')
    except UnicodeDecodeError as error:
        raise UserError(f'--characters {args.characters} is not UTF-8; name a line of text.') from error
    recognizer = TextRecognizer(args.recognizer, characters, device=choose_device(args.device))
    return score_text(args.samples, words, recognizer, args.setting, args.batch_size)


def compare_faces(args: argparse.Namespace) -> dict[str, MetricValue]:
    """How similar the faces of reconstructions are to those of the originals."""
    from fvq_core.errors import UserError
    from fvq_core.ops.distributed import choose_device

    from ..reconstruction.tokbench.face_network import FaceNetwork
    from ..reconstruction.tokbench.face_similarity import read_faces, score_faces

    if not args.originals or not args.face_network:
        raise UserError('--faces needs --originals and --face-network.')
    faces = read_faces(args.faces)
    network = FaceNetwork(args.face_network, choose_device(args.device))
    return score_faces(args.samples, args.originals, faces, network, args.setting, args.batch_size)
