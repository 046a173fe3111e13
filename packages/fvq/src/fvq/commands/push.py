"""Push a saved tokenizer or generator to the Hugging Face hub, with a model card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fvq_core.commands.command import command, make_parser
from fvq_core.errors import UserError
from fvq_core.files.json import read_json_object

EXAMPLE = """\
  tools/push.py work_dirs/fvq_photos/tokenizer ada/fvq-photos --license apache-2.0 --private
  tools/push.py work_dirs/fvq_photos/tokenizer ada/fvq-photos --dry-run look_first
  tools/push.py work_dirs/llamagen_photos/generator ada/llamagen-photos
  python -c "from fvq_core.tokenizer import Tokenizer; print(Tokenizer.from_pretrained('ada/fvq-photos'))\""""


@command
def main(argv: Sequence[str] | None) -> None:
    parser = make_parser('push.py', __doc__ or '', EXAMPLE)
    parser.add_argument('folder', help='folder written by a training run, tools/export.py or tools/convert.py')
    parser.add_argument('repo_id', help='user/name, created if it does not exist; log in first with `hf auth login`')
    parser.add_argument('--private', action='store_true', help='make a new repository private')
    parser.add_argument(
        '--license', metavar='ID', help='licence of the weights, for the model card, such as apache-2.0'
    )
    parser.add_argument(
        '--datasets', nargs='+', default=(), metavar='ID', help='hub ids of the training data, for the model card'
    )
    parser.add_argument(
        '--evaluated-on', metavar='ID', help="hub id of the evaluation data; adds the metrics to the card's model index"
    )
    parser.add_argument(
        '--metrics', metavar='FILE', help='JSON written by tools/test.py --out; default: the metrics saved in FOLDER'
    )
    parser.add_argument('--dry-run', metavar='OUT', help='write what would be pushed to OUT; does not contact the hub')
    args = parser.parse_args(argv)

    from fvq_core.saving.hub import check_repo_id
    from fvq_core.saving.model_card import CardMetadata
    from fvq_core.saving.read_folder import read_config

    from ..saved_class import find_saved_class

    check_repo_id(args.repo_id)
    saved = find_saved_class(args.folder)
    facts = dict(saved.saved_kind.facts(read_config(args.folder, saved.saved_kind))[1])
    if args.metrics:
        facts['metrics'] = read_metrics(Path(args.metrics))
    model = saved.from_pretrained(args.folder)
    card = CardMetadata(args.license, args.datasets, args.evaluated_on, name=args.repo_id)
    if args.dry_run:
        model.save_pretrained(args.dry_run, facts, card)
        print(f'{args.dry_run}: what would be pushed to {args.repo_id}')
        return
    print(model.push_to_hub(args.repo_id, facts, card, private=args.private or None))


def read_metrics(path: Path) -> dict[str, Any]:
    """The metrics of a `metrics.json`, each with its stamp."""
    try:
        metrics = read_json_object(path, 'name a file of tools/test.py --out')['metrics']
        unstamped = [name for name, metric in metrics.items() if not {'value', 'protocol', 'weights'} <= metric.keys()]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f'--metrics {path} is not what tools/test.py --out writes: {error!r}.') from error
    if unstamped:
        raise UserError(f'--metrics {path}: {unstamped[0]} has no value, protocol or weights beside it.')
    return metrics
