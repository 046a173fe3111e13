"""The benchmark: same everything, failures survived, resumed where it stopped, honest intervals, one report."""

from __future__ import annotations

import csv
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fvq_core.config.read import load_config
from fvq_core.errors import UserError
from fvq_core.training.hooks.history import History
from fvq_eval.benchmark import local_processes, scheduler, worker
from fvq_eval.benchmark import run as run_module
from fvq_eval.benchmark.curves import PANELS, histories
from fvq_eval.benchmark.fairness import check_fairness
from fvq_eval.benchmark.local_processes import LocalProcesses
from fvq_eval.benchmark.perceptual_choice import perceptual_metrics
from fvq_eval.benchmark.rows import Row, read_rows, short_name
from fvq_eval.benchmark.run import BenchmarkRun
from fvq_eval.benchmark.scheduler import Benchmark, make_slots
from fvq_eval.benchmark.summary import Cell, RowSummary
from fvq_eval.commands.benchmark import main
from fvq_eval.plots.run_curves_plot import run_bands

from .benchmark_runs import FVQ, OPTIONS, REPO, SWEEP, VQ, leave_result

TINY = [
    'train_dataloader.batch_size=2',
    'val_dataloader.dataset.crops=12',
    'default_hooks.training_log.interval=1',
    'model.tokenizer.quantizer.codebook_size=16',
]


def here(run: BenchmarkRun, env: Any) -> dict[str, Any]:
    """A run in this process; torch is imported once."""
    (run.folder / run_module.RESULT).unlink(missing_ok=True)
    worker.main(run.folder)
    result = run.result()
    assert result is not None
    return result


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs train in this process; returns their names as they start."""
    started = []

    def execute(run: BenchmarkRun, env: Any) -> dict[str, Any]:
        started.append(str(run))
        return here(run, env)

    monkeypatch.setattr(local_processes, 'execute', execute)
    return started


@pytest.fixture
def broken(tmp_path: Path) -> str:
    """A config whose training data is not there, which only a run finds out."""
    path = tmp_path / 'broken.py'
    dataset = (
        "dict(_delete_=True, type='ImageFolder', root='/nowhere', transforms=[dict(type='ADMRandomCrop', size=64)])"
    )
    path.write_text(f"base = 'configs/mini/vq.py'\ntrain_dataloader = dict(dataset={dataset})\n")
    return str(path)


def test_whole_benchmark_survives_a_failure_reports_and_is_not_repeated(
    in_process: list[str], broken: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work_dir = tmp_path / 'out'
    call = [VQ, FVQ, broken, '--steps', '2', '--seeds', '0', '1', '--perceptual', 'none']
    call += ['--work-dir', str(work_dir), '--allow-differences', '--cfg-options', *TINY]
    assert main(call) == 0
    shown = capsys.readouterr().out
    assert "FAILED: ImageFolder: '/nowhere' is not a folder" in shown
    assert re.search(r'\[1/6\] mini/vq lr x1 seed 0: PSNR .* time left', shown)
    assert in_process == [
        'mini/vq lr x1 seed 0',
        'mini/fvq lr x1 seed 0',
        f'{broken_name(broken)} lr x1 seed 0',
        'mini/vq lr x1 seed 1',
        'mini/fvq lr x1 seed 1',
        f'{broken_name(broken)} lr x1 seed 1',  # another seed need not fail
    ]
    with open(work_dir / 'report.csv') as file:
        rows = {row['row']: row for row in csv.DictReader(file)}
    assert {name: row['seeds'] for name, row in rows.items()} == {
        'mini/vq': '2',
        'mini/fvq': '2',
        broken_name(broken): '0',
    }
    assert 'is not a folder' in rows[broken_name(broken)]['failure']
    for name in ('vq', 'fvq'):
        row = rows[f'mini/{name}']
        folder = work_dir / 'runs' / 'mini' / name / 'lr1'
        seeds = [result_of(folder / f'seed{seed}')['metrics']['psnr']['value'] for seed in (0, 1)]
        assert float(row['psnr_mean']) == pytest.approx(np.mean(seeds))
        assert float(row['psnr_spread']) == pytest.approx(np.std(seeds, ddof=1))
        assert float(row['usage_cap']) == pytest.approx(100 * (1 - np.exp(-12 * 256 / 16)))
    vq, fvq = rows['mini/vq'], rows['mini/fvq']
    gap = float(vq['psnr_mean']) - float(fvq['psnr_mean'])
    assert float(vq['psnr_difference']) == pytest.approx(gap, abs=1e-6)  # paired means are the means' difference
    assert vq['photos'] == '10'
    assert float(vq['psnr_difference_low']) <= gap <= float(vq['psnr_difference_high'])

    page, text = (work_dir / 'report.html').read_text(), (work_dir / 'report.md').read_text()
    assert 'src="data:image/png;base64,' in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    for shown in (page, text):
        assert 'minus mini/fvq [95 %]' in shown
        assert 'strict: RGB, images rounded to 8 bits' in shown
        assert 'iter_2.pth' in shown
    assert {p.name for p in work_dir.glob('*.png')} == {'curves_1.png', 'reconstructions.png', 'seeds.png'}

    # again: what has ended stays; the failure is tried once more if that is asked for
    del in_process[:]
    assert main(call) == 0
    assert in_process == []
    assert 'seed 0: failed in an earlier call; retry with --retry-failed' in capsys.readouterr().out
    assert main([*call, '--retry-failed']) == 0
    assert in_process == [f'{broken_name(broken)} lr x1 seed {seed}' for seed in (0, 1)]
    # the report says how the runs were made, not how this call would make them
    assert main([*call, '--report-only', '--jobs', '5', '--threads', '7']) == 0
    text = (work_dir / 'report.md').read_text()
    assert '1 run(s) at a time' in text
    assert '7 CPU thread(s)' not in text
    # another length in the same folder would mix two benchmarks
    assert main([*call, '--report-only', '--steps', '3']) == 0
    text = (work_dir / 'report.md').read_text()
    assert 'of another config (lr x1, seed 0): data, steps' in text
    assert '2 steps of' not in text
    assert main([*call, '--steps', '3']) == 2
    assert 'holds a run of another config' in capsys.readouterr().err


def broken_name(path: str) -> str:
    return f'{Path(path).parent.name}/broken'


def result_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / 'result.json').read_text())


def test_the_best_rate_of_the_first_seed_gets_the_other_seeds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = []

    def execute(run: BenchmarkRun, env: Any) -> dict[str, Any]:
        """PSNR 20 + lr, except that lr x4 diverges."""
        trained.append((run.factor, run.seed))
        metrics = {'psnr': {'value': 20 + run.factor}, 'usage': {'value': 1.0}}
        result = {'status': 'finished', 'seconds': 1.0, 'metrics': metrics}
        if run.factor == 4:
            result = {'status': 'failed', 'reason': 'the loss is not finite', 'seconds': 1.0}
        (run.folder / 'result.json').write_text(json.dumps(result))
        return result

    monkeypatch.setattr(local_processes, 'execute', execute)
    rows = read_rows([VQ], OPTIONS)
    benchmark = Benchmark(rows, [5, 6, 7], [1.0, 2.0, 4.0], tmp_path)
    benchmark.train(LocalProcesses(make_slots('2', 1)), print)
    assert sorted(trained[:3]) == [(1.0, 5), (2.0, 5), (4.0, 5)]
    assert sorted(trained[3:]) == [(2.0, 6), (2.0, 7)]
    assert benchmark.best_factor(rows[0]) == 2.0
    assert '[5/5]' in capsys.readouterr().out
    # called again, it trains nothing: a try that failed is a try
    del trained[:]
    benchmark.train(LocalProcesses(make_slots('1', 1)), print)
    assert trained == []
    assert '[3/5] mini/vq lr x4 seed 5: failed in an earlier call; retry with --retry-failed' in capsys.readouterr().out
    assert benchmark.run(rows[0], 4.0, 5).result() is not None
    again = Benchmark(rows, [5, 6, 7], [1.0, 2.0, 4.0], tmp_path, retry_failed=True)
    again.train(LocalProcesses(make_slots('1', 1)), print)
    assert trained == [(4.0, 5)]


def test_an_interrupted_run_continues_from_its_checkpoint_to_the_same_numbers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = {**OPTIONS, 'train_cfg.max_iters': 4, 'default_hooks.checkpoint.interval': 2}
    options.update({'val_dataloader.dataset.crops': 4, 'default_hooks.training_log.interval': 1})
    results, logs = {}, {}
    for name in ('straight', 'interrupted'):
        (run,) = Benchmark(read_rows([VQ], options), [0], [1.0], tmp_path / name).tuning_runs()
        run_module.prepare(run, [])
        if name == 'interrupted':
            stop_after(monkeypatch, 3)
            assert worker.main(run.folder) == 130
            assert run.result() is None
            monkeypatch.undo()
        assert worker.main(run.folder) == 0
        results[name] = result_of(run.folder)['metrics']
        logs[name] = [row for row in History(run.folder / 'history.jsonl').rows() if row['split'] == 'latents']
        assert not list(run.folder.glob('previous_*'))
    assert results['interrupted'] == results['straight']
    assert logs['interrupted'] == logs['straight']
    assert [row['iter'] for row in logs['straight']] == [1, 2, 3, 4]


def stop_after(monkeypatch: pytest.MonkeyPatch, iteration: int) -> None:
    """Ctrl-C in the middle of training."""
    from fvq_core.training.train_loop import TrainLoop

    run_iter = TrainLoop.run_iter

    def interrupted(self: TrainLoop, batches: Any) -> None:
        if self.iter == iteration:
            raise KeyboardInterrupt
        run_iter(self, batches)

    monkeypatch.setattr(TrainLoop, 'run_iter', interrupted)


# --- fairness ---


def test_plan_of_a_run_keeps_what_its_config_imports_and_starts_from(tmp_path: Path) -> None:
    cfg = load_config(VQ, {'load_from': 'first/iter_9.pth'})
    cfg.custom_imports = dict(imports=['my_quantizers'])
    run_module.prepare(BenchmarkRun('vq', 1.0, 0, tmp_path / 'run', VQ, cfg), [])
    plan = json.loads((tmp_path / 'run/plan.json').read_text())
    assert plan['load_from'] == 'first/iter_9.pth'
    assert plan['custom_imports'] == {'imports': ['my_quantizers']}
    assert (
        plan['model']['tokenizer']['type'] == 'fvq_core.tokenizer.Tokenizer'
    )  # an import path, which needs no plug-in


def test_rows_that_differ_in_more_than_the_quantizer_are_refused_with_the_difference() -> None:
    rows = read_rows([VQ, FVQ], OPTIONS)
    check_fairness(rows)
    assert rows[1].cfg is not None
    rows[1].cfg.model.tokenizer.encoder.ch = 8
    rows[1].cfg.train_cfg.accumulate = 2
    expected = r'vq and fvq differ in more .*encoder.ch \(16 and 8\), train_cfg.accumulate \(not set and 2\); .*--allow'
    with pytest.raises(UserError, match=expected):
        check_fairness(rows)


def test_annealing_and_rates_of_parameter_groups_are_methods_not_unfairness() -> None:
    check_fairness(read_rows([str(REPO / 'configs/mini' / n) for n in ('vq.py', 'vq_no_anneal.py', 'vq_tuned.py')], {}))


def test_the_gan_row_is_not_in_the_mini_benchmark() -> None:
    with pytest.raises(UserError, match=r'model.adversarial.* \(not set and '):
        check_fairness(read_rows([VQ, str(REPO / 'configs/fvq/fvq_photos_gan.py')], {'train_cfg.val_interval': 0}))


# --- rows ---


def test_a_sweep_has_a_row_for_each_cell_and_tells_why_a_cell_is_refused() -> None:
    rows = {row.name: row for row in read_rows([SWEEP], OPTIONS)}
    assert len(rows) == 27
    refused = {name: row.refusal for name, row in rows.items() if row.refusal}
    assert len(refused) == 13
    assert 'nothing moves the codes' in refused['vq_x10_frozen']
    assert 'KMeansInit writes latents' in refused['fvq_x30_kmeans']
    assert 'the same as x1' in refused['linear_x30_frozen']
    cfg = rows['linear_x30_raw'].cfg
    assert cfg is not None
    assert cfg.model.tokenizer.quantizer.projector == dict(type='LinearProjector')
    assert cfg.model.tokenizer.quantizer.init == dict(type='NormalInit', std=1.0)
    assert cfg.optim_wrapper.paramwise_cfg.custom_keys == {'quantizer.embedding': dict(lr_mult=30.0)}
    assert 'sweep' not in cfg


def test_a_component_that_cannot_be_built_refuses_only_its_row(tmp_path: Path) -> None:
    path = tmp_path / 'odd.py'
    model = 'dict(tokenizer=dict(quantizer=dict(projector=dict(patch_size=7))))'
    path.write_text(f"base = 'configs/mini/fvq.py'\nmodel = {model}\n")
    rows = read_rows([VQ, str(path)], OPTIONS)
    assert rows[0].refusal == ''
    assert (rows[0].codebook_size, rows[0].codes_per_image) == (16, 256)
    assert 'not a multiple of patch_size 7' in rows[1].refusal


def test_a_row_whose_codebook_file_is_missing_is_refused_with_the_command_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (row,) = read_rows(['configs/mini/vqgan_lc.py'], {})
    assert 'make it with tools/make_codebook.py PHOTOS data/codebooks/mini_1024.safetensors' in row.refusal


def test_names_leave_out_what_all_keys_share() -> None:
    keys = ['mini/vq', 'mini/k4096/vq']
    assert [short_name(key, keys) for key in keys] == ['vq', 'k4096/vq']
    assert short_name('mini/vq', ['mini/vq']) == 'vq'


def test_each_config_is_a_row_at_each_size() -> None:
    rows = read_rows([VQ, FVQ], {'train_dataloader.batch_size': 2}, ['k1024', 'k4096'])
    assert [(row.key, row.name, row.codebook_size) for row in rows] == [
        ('mini/vq', 'vq', 1024),
        ('mini/fvq', 'fvq', 1024),
        ('mini/k4096/vq', 'k4096/vq', 4096),
        ('mini/k4096/fvq', 'k4096/fvq', 4096),
    ]
    check_fairness(rows)
    unknown = read_rows([VQ, SWEEP], OPTIONS, ['k999', 'k998'])
    assert ['has no size' in row.refusal for row in unknown] == [True] * 4


def test_a_cell_of_a_sweep_has_the_last_word_on_a_size(tmp_path: Path) -> None:
    path = tmp_path / 'patches.py'
    cell = {'model.tokenizer.quantizer.projector.patch_size': 64}
    path.write_text(f"base = 'configs/mini/fvq.py'\nsweep = dict(patch=dict(own={{}}, patch_64={cell}))\n")
    own, wide = read_rows([str(path)], {}, ['k16384'])
    assert (own.key, wide.key) == (f'{tmp_path.name}/k16384/own', f'{tmp_path.name}/k16384/patch_64')
    assert [row.cfg.model.tokenizer.quantizer.projector.patch_size for row in (own, wide) if row.cfg] == [16, 64]
    assert own.codebook_size == wide.codebook_size == 16384


def test_one_config_twice_and_a_missing_one_are_refused() -> None:
    with pytest.raises(UserError, match='mini/vq is given twice'):
        read_rows([VQ, VQ], OPTIONS)
    with pytest.raises(UserError, match=r"vqq\.py does not exist; did you mean 'vq.py'"):
        read_rows([VQ.replace('vq.py', 'vqq.py')], {})


# --- numbers ---


def test_a_cell_is_the_mean_with_the_sample_deviation() -> None:
    assert Cell([1.0, 2.0, 6.0]).text(2) == '3.00 ± 2.65'
    assert Cell([1.234]).text(1) == '1.2'
    assert Cell([6.0, 6.0]).text(1) == '6.0 ± 0.0'  # two seeds that agree are no single seed


def test_curves_are_over_the_steps_that_every_seed_logged(tmp_path: Path) -> None:
    runs = []
    for seed, values in enumerate(([1.0, 2.0, 9.0], [3.0, 6.0])):
        folder = tmp_path / str(seed)
        folder.mkdir()
        for step, value in enumerate(values):
            History(folder / 'history.jsonl').append({'iter': step, 'split': 'train', 'usage_window': value})
        runs.append(BenchmarkRun('vq', 1.0, seed, folder, '', load_config(VQ)))

    found = run_bands({'vq': histories(RowSummary(Row('vq', 'vq.py', None), runs))}, PANELS)
    assert [panel.key for panel in found] == ['usage_window']
    drawn = found[PANELS[0]]['vq']
    assert [drawn.x, drawn.mean, drawn.low, drawn.high] == [[0, 1], [2.0, 4.0], [1.0, 2.0], [3.0, 6.0]]


def test_the_cap_on_usage_is_that_of_even_draws() -> None:
    result = {'metrics': {'usage': {'tokens': 2000}}, 'steps': 10, 'batch_size': 4}

    class Summary(RowSummary):
        results = [result]  # noqa: RUF012

    summary = Summary(Row('vq', 'vq.py', None, codebook_size=1000, codes_per_image=50))
    assert summary.cap == pytest.approx(100 * (1 - np.exp(-2.0)))
    assert summary.latents_per_code() == 2.0


# --- errors ---


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--jobs', '0'], '--jobs must be a whole number'),
        (['--threads', '0'], '--threads must be 1 or more'),
        (['--seeds', '1', '1'], '--seeds wants one or more different numbers'),
        (['--lr-factors', '0'], '--lr-factors must be above 0'),
        (['--reference', 'vqq'], "no row is called 'vqq'; did you mean 'vq'"),
        (['--perceptual', 'alexa'], "did you mean 'alex'"),
        (['--perceptual-weights', 'x.pth'], '--perceptual-weights needs --perceptual'),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main([VQ, '--work-dir', str(tmp_path / 'out'), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_jobs_are_slots_with_their_own_threads() -> None:
    assert len(make_slots('3', 2)) == 3
    assert make_slots('3', 2)[0]['OMP_NUM_THREADS'] == '2'


@pytest.mark.parametrize(
    ('jobs', 'gpus', 'share'),
    [('auto', 1, None), ('auto', 2, None), ('1', 1, None), ('4', 1, '0.2375'), ('4', 2, '0.4750'), ('3', 2, '0.4750')],
)
def test_jobs_share_the_memory_of_a_gpu(
    jobs: str, gpus: int, share: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: gpus)
    monkeypatch.setattr(scheduler, 'choose_device', lambda wanted: torch.device('cuda'))
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    slots = make_slots(jobs, 1)
    assert [slot.get('FVQ_GPU_MEMORY_SHARE') for slot in slots] == [share] * len(slots)
    assert {slot.get('CUDA_VISIBLE_DEVICES') for slot in slots} == ({'0', '1'} if gpus == 2 else {None})
    compiling = sum(int(slot.get('TORCHINDUCTOR_COMPILE_THREADS', 0)) for slot in slots)
    assert compiling <= max(len(slots), os.cpu_count() or 1)


def test_no_perceptual_network_is_invented(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    assert perceptual_metrics('auto', None) == []
    (tmp_path / 'hub/checkpoints').mkdir(parents=True)
    (tmp_path / 'hub/checkpoints/alexnet-owt-7be5be79.pth').write_bytes(b'')
    assert perceptual_metrics('auto', None) == [dict(type='PerceptualDistance', net='alex')]


def test_a_cluster_without_submitit_and_options_without_a_cluster_are_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = [VQ, '--perceptual', 'none', '--work-dir', str(tmp_path)]
    assert main([*call, '--slurm', 'partition=gpu']) == 2
    assert '--slurm goes with --launcher slurm' in capsys.readouterr().err
    assert main([*call, '--launcher', 'slurm', '--generator']) == 2
    assert '--generator trains on this machine' in capsys.readouterr().err
    assert main([*call, '--launcher', 'slurm', '--minutes', '1']) == 2
    assert '--minutes and --estimate are about this machine' in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, 'submitit', None)
    assert main([*call, '--launcher', 'slurm']) == 2
    assert 'pip install "fvq[cluster]"' in capsys.readouterr().err


def test_runs_that_wait_in_a_queue_are_handed_over_together_unless_a_rate_is_to_be_chosen(tmp_path: Path) -> None:
    class Queue:
        queued = True

        def __init__(self) -> None:
            self.calls: list[list[tuple[float, int]]] = []

        def launch(self, runs: Any, extra_metrics: Any) -> Any:
            self.calls.append([(run.factor, run.seed) for run in runs])
            for run in runs:
                run.folder.mkdir(parents=True)
                leave_result(run.folder, 20.0 + run.factor)
                yield run, {'status': 'failed', 'reason': 'only the folder counts'}

        def active(self) -> list[BenchmarkRun]:
            return []

    rows, queue = read_rows([VQ], OPTIONS), Queue()
    Benchmark(rows, [0, 1], [1.0], tmp_path / 'one').train(queue, print)
    Benchmark(rows, [0, 1], [1.0, 2.0], tmp_path / 'two').train(queue, print)
    assert queue.calls == [[(1.0, 0), (1.0, 1)], [(1.0, 0), (2.0, 0)], [(2.0, 1)]]
