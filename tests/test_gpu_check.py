"""`make gpu-check`: its budgets, its file of results, what it passes over, and that a proven kernel has a result."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu_check import cli, measure, process
from benchmarks.gpu_check.results import unproven
from benchmarks.gpu_check.section import REPO, Check, Section, last_json, none_failed, pytest_counts
from benchmarks.gpu_check.sections import FIRST, LAST, SECTIONS, sampling, training
from benchmarks.gpu_check.sources import source_files, sources_hash

CARD = {'card': 'Test Card 9', 'capability': '9.0', 'gib': 80.0}
SCRIPT = """
import json, os, sys
print('a line before')
print(json.dumps({'ratio': RATIO, 'same': True, 'small': '--small' in sys.argv, 'switch': os.environ['FVQ_KERNELS']}))
"""
Call = Callable[..., int]


def judge(output: Any) -> list[Check]:
    return [
        Check('the same', output['same'], kernel='twice'),
        Check(f'{output["ratio"]} times', output['ratio'] >= 1.2, 'gain', 'twice'),
        Check('a far target', False, 'target', 'twice'),
    ]


def section(name: str, **more: Any) -> Section:
    fields = dict(command=(f'{name}.py',), seconds=30, sources=(), judge=judge, kernels={'twice': ('kernel.py',)})
    return Section(name=name, proves='something', **{**fields, **more})


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of scripts, on a machine that claims a card."""
    for name in ('first', 'second'):
        (tmp_path / f'{name}.py').write_text(SCRIPT.replace('RATIO', '1.5'))
    (tmp_path / 'kernel.py').write_text("TWICE = Kernel('twice', proven=False)\n")
    monkeypatch.setattr(cli, 'find_card', lambda: CARD)
    return tmp_path


@pytest.fixture
def call(repo: Path) -> Call:
    def call(*argv: str, sections: Any = None) -> int:
        return cli.main(argv, sections or [section('first'), section('second')], repo)

    return call


def results(repo: Path, path: str = 'docs/gpu/test_card_9.json') -> dict[str, Any]:
    return json.loads((repo / path).read_text())['sections']


def test_each_section_leaves_a_record(repo: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call() == 0
    record = results(repo)['first']
    assert record['verdict'] == 'pass'
    assert record['output'] == {'ratio': 1.5, 'same': True, 'small': False, 'switch': 'all'}
    assert record['command'] == 'python first.py'
    assert record['card'] == 'Test Card 9'
    assert record['kernels']['twice']['verdict'] == 'pass'
    assert {'driver', 'torch', 'triton', 'commit', 'sources', 'seconds'} <= record.keys()
    assert '1.5 times; NOT a far target; proves twice' in capsys.readouterr().out


def test_a_section_without_kernels_runs_what_is_proven(repo: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('FVQ_KERNELS', 'off')
    assert call(sections=[section('first', kernels={})]) == 0
    assert results(repo)['first']['output']['switch'] == 'proven'


def test_settings_of_the_shell_do_not_reach_a_section(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('TRITON_INTERPRET', '1')
    monkeypatch.setenv('FVQ_DEVICE', 'cpu')
    env = measure.environment(section('first'), rehearse=False)
    assert env['FVQ_KERNELS'] == 'all'
    assert not {'TRITON_INTERPRET', 'FVQ_DEVICE'} & env.keys()
    assert measure.environment(section('first', env={'TRITON_INTERPRET': '1'}), False)['TRITON_INTERPRET'] == '1'


@pytest.mark.parametrize(
    ('content', 'error'),
    [
        (SCRIPT.replace('RATIO', '1.1'), None),  # no gain
        (SCRIPT.replace('RATIO', '1.5').replace('True', 'False'), None),  # not equal
        (SCRIPT.replace('RATIO', '1.5') + 'sys.exit(3)', 'exit code 3'),
        (SCRIPT.replace('RATIO', '1.5') + 'raise ValueError("not here")', 'exit code 1: ValueError: not here'),
        ('print("nothing")', 'no JSON object'),
        ('print("{}")', "KeyError: 'same'"),
        (SCRIPT.replace('RATIO', '1.5') + 'print("plain torch takes its place", file=sys.stderr)', 'plain torch'),
    ],
)
def test_what_fails_proves_nothing_and_stops_nothing(repo: Path, call: Call, content: str, error: str | None) -> None:
    (repo / 'first.py').write_text(content)
    assert call() == 1
    first, second = results(repo).values()
    assert (first['verdict'], second['verdict']) == ('fail', 'pass')
    assert 'pass' not in {kernel['verdict'] for kernel in first.get('kernels', {}).values()}
    assert error is None or error in first['error']


def test_a_kernel_needs_equality_and_gain(repo: Path, call: Call) -> None:
    call(sections=[section('first', judge=lambda output: judge(output)[:1])])
    assert results(repo)['first']['verdict'] == 'pass'
    assert results(repo)['first']['kernels']['twice']['verdict'] == 'fail'


def test_a_hanging_section_is_killed_with_its_children(repo: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, 'GRACE', 0.2)
    (repo / 'first.py').write_text(
        'import subprocess, sys, signal, time\n'
        'signal.signal(signal.SIGTERM, signal.SIG_IGN)\n'
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "open('child', 'w').write(str(child.pid))\n"
        'time.sleep(60)'
    )
    start = time.monotonic()
    assert call(sections=[section('first', seconds=2), section('second')]) == 1
    assert time.monotonic() - start < 20
    first, second = results(repo).values()
    assert (first['verdict'], second['verdict']) == ('killed', 'pass')
    assert first['error'] == 'killed after 2 s'
    assert not runs(int((repo / 'child').read_text()))


def runs(pid: int) -> bool:
    """Whether a process is there and no zombie, waited for."""
    for _ in range(50):
        try:
            if Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] == 'Z':
                return False
        except FileNotFoundError:
            return False
        time.sleep(0.1)
    return True


def test_what_does_not_fit_the_budget_is_not_started(
    repo: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    sections = [section('first', seconds=500), section('second')]
    assert call('--budget', '60', sections=sections) == 0
    assert list(results(repo)) == ['second']
    assert 'first: not started, needs 500 s, 60 s are left' in capsys.readouterr().out


def test_continue_keeps_what_another_file_of_results_holds(repo: Path, call: Call) -> None:
    old = repo / 'old.json'
    assert call('--only', 'first', '--out', str(old)) == 0
    assert call('--only', 'second') == 0
    assert call('--continue', str(old), sections=[section('first'), section('third', command=('first.py',))]) == 0
    assert set(results(repo)) == {'first', 'second', 'third'}


def test_continue_passes_over_what_passed_for_the_same_sources(repo: Path, call: Call) -> None:
    call()
    before = results(repo)
    (repo / 'second.py').write_text(SCRIPT.replace('RATIO', '1.7'))
    assert call('--continue', str(repo / 'docs/gpu/test_card_9.json'), '--out', str(repo / 'new.json')) == 0
    after = results(repo, 'new.json')
    assert after['first'] == before['first']
    assert after['second']['output']['ratio'] == 1.7


@pytest.mark.parametrize('change', ['kernel', 'command', 'card', 'failed', 'nothing', 'proven'])
def test_what_continue_measures_again(
    repo: Path, call: Call, change: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = section('first')
    if change == 'failed':
        (repo / 'first.py').write_text(SCRIPT.replace('RATIO', '1.1'))
    call(sections=[one])
    old = repo / 'docs/gpu/test_card_9.json'
    if change == 'kernel':
        (repo / 'kernel.py').write_text("TWICE = Kernel('twice', proven=False)  # faster\n")
    if change == 'proven':
        (repo / 'kernel.py').write_text("TWICE = Kernel('twice', proven=True)\n")
    if change == 'command':
        one = replace(one, arguments=('--small',))
    if change == 'card':
        monkeypatch.setattr(cli, 'find_card', lambda: {**CARD, 'card': 'Other'})
    capsys.readouterr()
    call('--continue', str(old), sections=[one])
    assert ('passed before' in capsys.readouterr().out) == (change in ('nothing', 'proven'))


def test_results_of_other_sections_stay_until_their_sources_change(repo: Path, call: Call) -> None:
    call()
    assert call('--only', 'second') == 0
    assert list(results(repo)) == ['first', 'second']
    (repo / 'first.py').write_text(SCRIPT.replace('RATIO', '1.3'))
    call('--budget', '0.001')
    assert list(results(repo)) == ['first', 'second']  # nothing was written
    call('--only', 'second')
    call(sections=[section('first', seconds=10_000), section('second')])
    assert list(results(repo)) == ['second']


def test_list_runs_nothing_and_says_what_is_proven(
    repo: Path, call: Call, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call('--only', 'first')
    monkeypatch.setattr(cli, 'find_card', lambda: None)  # from a machine without one
    capsys.readouterr()
    assert call('--list', '--continue', str(repo / 'docs/gpu/test_card_9.json')) == 0
    printed = capsys.readouterr().out
    assert '| first | 30 s | something | twice | yes |' in printed
    assert '| second | 30 s | something | twice | no |' in printed
    assert '1 to run, at most 30 s' in printed


def test_no_gpu_is_one_line(call: Call, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli, 'find_card', lambda: None)
    assert call() == 2
    assert capsys.readouterr().err.count('\n') == 1


def test_an_unknown_section(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call('--only', 'frist') == 2
    assert "no section 'frist'; did you mean 'first'?" in capsys.readouterr().err


def test_a_rehearsal_runs_all_at_the_small_size_and_writes_no_results(
    repo: Path, call: Call, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, 'find_card', lambda: None)
    (repo / 'first.py').write_text(SCRIPT.replace('RATIO', '0.5'))  # a CPU says nothing of gains
    assert call('--rehearse', sections=[section('first', arguments=('--large',), rehearsal=('--small',))]) == 0
    assert not (repo / 'docs').exists()
    assert call('--rehearse', '--out', str(repo / 'out.json'), sections=[section('first', rehearsal=('--small',))]) == 0
    assert results(repo, 'out.json')['first']['output']['small'] is True
    (repo / 'first.py').write_text('print("{}")')
    assert call('--rehearse', sections=[section('first')]) == 1


@pytest.mark.processes
def test_a_terminated_call_kills_its_section_and_keeps_results(tmp_path: Path) -> None:
    (tmp_path / 'hangs.py').write_text("import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)")
    (tmp_path / 'call.py').write_text(
        'import runpy, sys\n'
        'from benchmarks.gpu_check import cli\n'
        'from tests.test_gpu_check import section\n'
        'from pathlib import Path\n'
        f'main, repo = cli.main, Path({str(tmp_path)!r})\n'
        "cli.main = lambda: main(['--rehearse'], [section('hangs', kernels={}, seconds=50)], repo)\n"
        f"runpy.run_path({str(REPO / 'benchmarks/gpu_check')!r}, run_name='__main__')\n"
    )
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(REPO), os.environ.get('PYTHONPATH', '')])}
    running = subprocess.Popen([sys.executable, str(tmp_path / 'call.py')], env=env, cwd=tmp_path)
    for _ in range(600):
        if (tmp_path / 'pid').exists() and (tmp_path / 'pid').read_text():
            break
        time.sleep(0.1)
    running.send_signal(signal.SIGTERM)
    assert running.wait(20) == 128 + signal.SIGTERM
    assert not runs(int((tmp_path / 'pid').read_text()))


def test_the_last_json_object_of_what_was_printed() -> None:
    assert last_json('{"a": 1}\nwords {"b": 2}\n{\n  "c": {"d": 3}\n}\n{broken') == {'c': {'d': 3}}
    with pytest.raises(ValueError, match='no JSON object'):
        last_json('words')


def test_counts_of_pytest() -> None:
    assert pytest_counts('3 failed things\n== 1 failed, 12 passed, 2 errors in 4.00s ==\n') == {
        'failed': 1,
        'passed': 12,
        'error': 2,
    }
    assert none_failed({'passed': 3})[0].passed
    assert not none_failed({'skipped': 3})[0].passed
    assert not none_failed({'passed': 3, 'error': 1})[0].passed


def test_sections_have_names_of_their_own_and_sources_that_exist() -> None:
    names = [one.name for one in SECTIONS]
    assert len(set(names)) == len(names)
    assert names[: len(FIRST)] == [*FIRST]
    assert names[-len(LAST) :] == [*LAST]
    for one in SECTIONS:
        assert source_files(one.all_sources, REPO), one.name


def kernels_in_the_source() -> dict[str, bool]:
    """Names of all `Kernel`s, and whether they claim to be proven."""
    found = {}
    for path in (REPO / 'packages').rglob('src/**/*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split('.')[-1] == 'Kernel' and node.args:
                arguments = {'proven': False} | {word.arg: ast.literal_eval(word.value) for word in node.keywords}
                found[ast.literal_eval(node.args[0])] = arguments['proven']
    return found


def test_kernels_that_claim_to_be_proven_have_a_result_for_their_source() -> None:
    reasons = {
        name: unproven(name, SECTIONS, REPO / 'docs/gpu') for name, proven in kernels_in_the_source().items() if proven
    }
    assert {name: reason for name, reason in reasons.items() if reason} == {}


def test_what_proves_a_kernel(repo: Path, call: Call) -> None:
    sections, folder = [section('first')], repo / 'docs/gpu'
    assert unproven('thrice', sections, folder, repo) == 'no section of gpu-check names the kernel thrice'
    assert unproven('twice', sections, folder, repo) == 'no result in gpu is of the kernel twice'
    call(sections=sections)
    assert unproven('twice', sections, folder, repo) is None
    (repo / 'kernel.py').write_text("TWICE = Kernel('twice', proven=True)\n")  # the result is there
    assert unproven('twice', sections, folder, repo) is None
    (repo / 'kernel.py').write_text("TWICE = Kernel('twice', proven=True)\nwarps = 8\n")
    assert unproven('twice', sections, folder, repo) == 'the sources of the kernel twice have changed since its result'
    (repo / 'first.py').write_text(SCRIPT.replace('RATIO', '1.0'))
    call(sections=sections)
    assert unproven('twice', sections, folder, repo) == 'the kernel twice has failed'


@pytest.mark.parametrize(('wrong', 'passes'), [({}, True), ({'gradient': 0.3}, False), ({'loss': 0.01}, False)])
def test_a_step_whose_gradient_points_elsewhere_fails(wrong: dict[str, float], passes: bool) -> None:
    """Its length may be right: only the distance from plain torch says so."""
    agreement = dict(loss=0.0, gradient_norm=0.0, gradient=1e-4, half_gradient=0.22, half_plain_gradient=0.2) | wrong
    after = {'images_per_second': 300, 'ratio': 3.0, 'peak_gib': 30}
    way = {'after': after, 'kernels': list(training.KERNELS)}
    checks = training.judge_step('ours', 235, 2.5)({'ways': {'ours': way}, 'agreement': agreement})
    assert all(check.passed for check in checks) is passes


@pytest.mark.parametrize(('seconds', 'passes'), [(0.4, True), (0.6, False)])
def test_a_step_on_frozen_latents_is_to_take_half_as_long_as_one_on_images(seconds: float, passes: bool) -> None:
    (frozen,) = (one for one in SECTIONS if one.name == 'frozen-step')
    steps = {'fvq_16k': {'seconds': 1.0, 'peak_gib': 30.0}, 'fvq_16k_vae_sd': {'seconds': seconds, 'peak_gib': 5.0}}
    (check,) = frozen.judge({'configs': steps})
    assert (check.passed, check.kind) == (passes, 'target')
    assert check.said == f'fvq_16k_vae_sd: 5.0 GiB, times the step of fvq_16k {seconds} (at most 0.5)'


@pytest.mark.parametrize(('same', 'passes'), [(0.97, True), (0.5, False)])  # half of all bits are the same by chance
def test_bits_of_infinity_are_to_be_those_of_the_plain_loop(same: float, passes: bool) -> None:
    row = {'size': 'infinity', 'batch': 8, 'speedup_ratio': 1.5, 'same_first_codes': same}
    gain, equal = sampling.judge_bits({'rows': [row]})
    assert gain.passed
    assert equal.passed is passes


def test_the_hash_is_of_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / 'a.py').write_text('1')
    first = sources_hash(['*.py'], tmp_path)
    (tmp_path / 'a.py').rename(tmp_path / 'b.py')
    assert sources_hash(['*.py'], tmp_path) != first
    with pytest.raises(FileNotFoundError, match='no file matches c'):
        sources_hash(['c'], tmp_path)


def test_the_warning_of_a_kernel_that_does_not_run_is_known() -> None:
    assert measure.FELL_BACK in (REPO / 'packages/fvq-core/src/fvq_core/ops/kernels.py').read_text()
