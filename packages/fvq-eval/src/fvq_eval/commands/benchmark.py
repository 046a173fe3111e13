"""Benchmark quantizers under identical settings: train every config with every seed and write one report."""

from __future__ import annotations

import dataclasses
import functools
import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from fvq_core.commands.command import add_json, command, give, make_parser
from fvq_core.config.key_value import KeyValueAction

from .options import add_extractor, check_least, extractor_config

EXAMPLE = """\
  tools/benchmark.py configs/mini/*.py --seeds 0 1 2                     # bundled photos; run again to continue
  tools/benchmark.py configs/mini/vq.py configs/mini/fvq.py --lr-factors 0.3 1 3 --jobs 2
  tools/benchmark.py configs/mini/*.py --size k4096                      # the same rows with 4,096 codes
  tools/benchmark.py configs/mini/*.py --data photos --work-dir work_dirs/photos   # photos/train, photos/val
  tools/benchmark.py configs/mini/*.py --data photos --work-dir work_dirs/photos --rates-of work_dirs/benchmark
  tools/benchmark.py configs/mini/{vq,fvq}.py --lengths 400 1600           # does the ranking depend on the length?
  tools/benchmark.py configs/mini/{vq,fvq,rq}.py --generator               # also train a generator on the codes
  tools/benchmark.py configs/mini/q1/sweep.py                            # one row for each cell of a sweep
  tools/benchmark.py configs/mini/*.py --launcher slurm --slurm partition=gpu gpus=1 cpus=4   # one cluster job per run
  tools/benchmark.py configs/mini/*.py --seeds 0 1 2 --report-only       # results so far"""


@command
def main(argv: Sequence[str] | None) -> None:
    parser = make_parser('benchmark.py', __doc__ or '', EXAMPLE)
    parser.add_argument('configs', nargs='+', help='one row per config; a config with a `sweep` gives one row per cell')
    parser.add_argument(
        '--data', metavar='PATH', help='folder with train/ and val/ photos; default: the bundled photos'
    )
    parser.add_argument(
        '--size',
        nargs='+',
        default=[None],
        metavar='NAME',
        help='one row per config at each of these sizes, such as k4096; default: the config as it is',
    )
    parser.add_argument(
        '--steps', type=int, metavar='N', help='training steps of every row; default: those of the config'
    )
    parser.add_argument(
        '--lengths',
        nargs='+',
        type=int,
        default=[None],
        metavar='N',
        help='one row per config at each of these training steps, each with its own schedule; default: one row, of --steps',
    )
    parser.add_argument(
        '--seeds',
        nargs='+',
        type=int,
        default=[0],
        metavar='N',
        help='random seeds, one run per row and seed; default 0',
    )
    parser.add_argument(
        '--lr-factors',
        nargs='+',
        type=float,
        default=[1.0],
        metavar='F',
        help='factors on the learning rate: all run with the first seed, the best by PSNR with the others too; default 1',
    )
    parser.add_argument(
        '--rates-of',
        metavar='DIR',
        help='work dir of another benchmark: use the best learning-rate factor of each row there',
    )
    parser.add_argument(
        '--tune', action='store_true', help='evaluate on tune/ of --data, so that val/ is not used for tuning'
    )
    parser.add_argument(
        '--best-of',
        metavar='DIR',
        help='work dir of another benchmark of the same sweeps: one row per config, with the cell and learning rate that were '
        'best there',
    )
    parser.add_argument('--jobs', default='auto', metavar='N', help='runs at a time; default auto: one per GPU, else 1')
    parser.add_argument('--threads', type=int, default=1, help='CPU threads per run; default 1')
    parser.add_argument(
        '--minutes',
        type=float,
        metavar='N',
        help='time limit of this call: runs stop at a checkpoint, and none starts that does not fit; call again to continue',
    )
    parser.add_argument(
        '--retry-failed',
        action='store_true',
        help='retry runs that failed in an earlier call; default: leave them as failed',
    )
    parser.add_argument(
        '--estimate',
        type=int,
        metavar='STEPS',
        help='only estimate the time of this call, by training each config for STEPS steps',
    )
    parser.add_argument(
        '--launcher',
        choices=('local', 'slurm'),
        default='local',
        help='run on this machine (local) or as Slurm jobs (slurm, needs fvq[cluster]); default local',
    )
    parser.add_argument(
        '--slurm',
        nargs='+',
        action=KeyValueAction,
        default={},
        metavar='KEY=VALUE',
        help='per job: partition, time in minutes (default 240), gpus, cpus (default --threads), or any other parameter of '
        'submitit, such as account or mem_gb; cluster=local runs the jobs on this machine, to try it out',
    )
    parser.add_argument(
        '--work-dir',
        default='work_dirs/benchmark',
        help='output folder of runs and report; default work_dirs/benchmark',
    )
    parser.add_argument(
        '--reference',
        metavar='ROW',
        help='baseline row for PSNR differences; default: fvq of the same folder and codebook size, else the first row',
    )
    parser.add_argument(
        '--study',
        metavar='FILE',
        help='JSON of claims to test, such as configs/confirmatory/study.json; also writes study.html',
    )
    parser.add_argument(
        '--perceptual',
        default='auto',
        help='perceptual distance: auto, none, alex, vgg or squeeze; default auto: the network whose weights are found here',
    )
    parser.add_argument('--perceptual-weights', metavar='FILE', help='trained weights of the perceptual network')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=KeyValueAction,
        default={},
        metavar='KEY=VALUE',
        help='override config entries of every row',
    )
    parser.add_argument(
        '--allow-differences', action='store_true', help='accept rows that differ in more than the quantizer'
    )
    parser.add_argument(
        '--generator',
        type=int,
        nargs='?',
        const=400,
        metavar='STEPS',
        help='also train a small generator on the codes of every run, for STEPS steps (default 400); the report then has bits '
        'per image, and KID of samples and of reconstructions',
    )
    parser.add_argument(
        '--generator-config',
        metavar='FILE',
        help='config of that generator; default: the one in configs/generation/small that takes the codes',
    )
    add_extractor(parser, 'RandomFeatures, for the KID of --generator')
    parser.add_argument('--report-only', action='store_true', help='only write the report, from existing runs')
    add_json(parser, 'report (its files), rows (the lines of report.csv)')
    args = parser.parse_args(argv)

    from fvq_core.errors import UserError, nearest_hint

    from ..benchmark.chosen_rates import choice_text, chosen_rates
    from ..benchmark.chosen_tries import check_scored_apart, keep_best, tuning_sentences
    from ..benchmark.cluster_jobs import ClusterJobs
    from ..benchmark.csv_files import report_line
    from ..benchmark.estimate import estimate, estimate_text
    from ..benchmark.fairness import check_fairness
    from ..benchmark.generator_stage import GeneratorStage
    from ..benchmark.launcher import Launcher
    from ..benchmark.local_processes import LocalProcesses
    from ..benchmark.perceptual_choice import CHOICES, perceptual_metrics
    from ..benchmark.photo_data import SCORED_ON, TUNE, is_bundled, use_photos
    from ..benchmark.report import write_report
    from ..benchmark.rows import name_rows, read_rows, trainable
    from ..benchmark.scheduler import Benchmark, make_slots
    from ..benchmark.sentences import FEWEST_CODES
    from ..benchmark.study import read_study, study_rows
    from ..benchmark.study_page import write_study
    from ..benchmark.time_limit import limit_slots

    if args.perceptual not in CHOICES:
        raise UserError(f"benchmark: no --perceptual '{args.perceptual}'; {nearest_hint(args.perceptual, CHOICES)}")
    study = None if args.study is None else read_study(args.study)
    slots, metrics = make_slots(args.jobs, args.threads), perceptual_metrics(args.perceptual, args.perceptual_weights)
    launcher: Launcher = LocalProcesses(slots)
    if args.launcher == 'slurm':
        if args.generator is not None:
            raise UserError(
                'benchmark: --generator trains on this machine; call without it first, then with it and without --launcher.'
            )
        if args.minutes is not None or args.estimate is not None:
            raise UserError('benchmark: --minutes and --estimate are about this machine; leave out --launcher.')
        launcher = ClusterJobs(
            Path(args.work_dir), args.slurm, args.threads, len(slots) if args.jobs != 'auto' else None
        )
    elif args.slurm:
        raise UserError('benchmark: --slurm goes with --launcher slurm; add it.')
    options = {**args.cfg_options, **({} if args.steps is None else {'train_cfg.max_iters': args.steps})}
    if args.steps is not None and args.lengths != [None]:
        raise UserError('benchmark: --steps and --lengths exclude each other; drop one of them.')
    rows, tries = read_rows(args.configs, options, args.size, args.lengths), {}
    if args.best_of is not None:
        rows, tries = keep_best(rows, Path(args.best_of))
        name_rows(rows)
    if study is not None:
        study_rows(rows, study)  # what is wrong with it is said before anything is trained
    names = [row.name for row in rows]
    if args.reference is not None and args.reference not in names:
        raise UserError(f"benchmark: no row is called '{args.reference}'; {nearest_hint(args.reference, names)}")
    if not args.allow_differences:
        check_fairness(rows)
    work_dir, chosen, rates, notes = Path(args.work_dir), None, None, []
    if (args.rates_of or args.best_of) and (len(args.lr_factors) > 1 or (args.rates_of and args.best_of)):
        raise UserError(
            'benchmark: --rates-of, --best-of and several --lr-factors exclude each other; keep one of them.'
        )
    if args.best_of is not None:
        chosen = {row.key: tries[Path(row.source).stem].factor for row in rows}
        notes += tuning_sentences(tries, Path(args.best_of))
    if args.rates_of is not None:
        rates = chosen_rates(Path(args.rates_of), [row for row, _ in trainable(rows)], args.seeds[0])
        chosen = rates.best
    if args.data:
        needed = max(
            (math.ceil(FEWEST_CODES * r.codebook_size / r.codes_per_image) for r, _ in trainable(rows)), default=1
        )
        scored_on = [TUNE] if args.tune else SCORED_ON
        configs = [cfg for _, cfg in trainable(rows)]
        crops = use_photos(configs, args.data, needed, work_dir, not args.report_only, scored_on)
        others = 'those of tune/' if args.tune else 'the others'
        notes.append(f'Photos of {args.data}: train/ for training, {crops} fixed crops of {others} for evaluation.')
    elif args.tune:
        raise UserError('benchmark: --tune is about a folder of --data; add it.')
    else:
        notes.append("The configs' own data.")
        if any(is_bundled(cfg.val_dataloader['dataset']) for _, cfg in trainable(rows)):
            notes.append('Training and evaluation crops are of different parts of the same ten bundled photos.')
    if args.best_of is not None:
        check_scored_apart(rows, tries, Path(args.best_of))
    if args.rates_of is not None:
        where = choice_text(Path(args.rates_of), rows, args.seeds[0])
        notes.append(f'Learning rates were chosen for every row by {args.rates_of} among {rates}{where}.')
    if not metrics:
        notes.append('No perceptual distance: no trained network was given or found on this machine.')

    stage, served = None, set()
    if args.generator is not None:
        check_least('--generator', args.generator, 1)
        found = extractor_config(args.extractor, args.extractor_options) or dict(type='RandomFeatures')
        stage = GeneratorStage(args.generator, found, args.generator_config)
        served = {row.name for row in stage.check(rows, print)}  # before anything is trained
    elif args.generator_config is not None:
        raise UserError('benchmark: --generator-config goes with --generator; add it.')
    benchmark = Benchmark(rows, args.seeds, args.lr_factors, work_dir, metrics, chosen, args.retry_failed)
    for row in rows:
        if row.refusal:
            print(f'{row.name}: refused: {row.refusal}')
    if args.estimate is not None:
        check_least('--estimate', args.estimate, 1)
        costs = estimate(
            benchmark, args.estimate, lambda trial: trial.train(launcher, functools.partial(print, flush=True))
        )
        print(estimate_text(costs, len(slots)))
        give({'estimate': [dataclasses.asdict(cost) for cost in costs]})
        return
    if args.minutes is not None:
        if args.generator is not None:
            raise UserError('benchmark: --minutes is about rows, not about --generator; train these first.')
        limit_slots(slots, args.minutes)
    if not args.report_only:
        benchmark.train(launcher, functools.partial(print, flush=True))
        if stage is not None:
            runs = [run for row, _ in trainable(rows) if row.name in served for run in benchmark.chosen_runs(row)]
            stage.run_all(runs, slots, functools.partial(print, flush=True))
    call = shlex.join(['tools/benchmark.py', *(sys.argv[1:] if argv is None else argv)])
    summaries = write_report(benchmark, args.reference, call, notes)
    for summary in summaries:
        psnr = summary.cells['psnr'].text(2) if summary.runs else ''
        print(f'{summary.row.name:28s} {"; ".join(filter(None, (psnr, summary.failure)))}')
    if study is not None:
        write_study(benchmark, summaries, study, call, notes)
        print(f'study: {work_dir / "study.html"}')
    files = {suffix: str(work_dir / f'report.{suffix}') for suffix in ('md', 'html', 'csv')}
    print(f'report: {", ".join(files.values())}')
    lines = [report_line(summary) for summary in summaries]
    give(
        {'report': files, 'rows': [{key: None if cell == '' else cell for key, cell in line.items()} for line in lines]}
    )
