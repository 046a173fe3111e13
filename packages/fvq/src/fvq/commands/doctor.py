"""Check whether this machine can train: installed packages, devices, disk, and pretrained weights."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict

from fvq_core.commands.command import add_json, command, give, make_parser

from ..doctor.finding import Finding
from ..doctor.machine import check_machine, check_torch
from ..doctor.packages import check_packages
from ..doctor.weights import check_weights

EXAMPLE = """\
  tools/doctor.py
  tools/doctor.py --json | jq -r '.findings[] | select(.status != "ok") | .remedy'
Lines marked ! prevent training; lines marked - affect one feature only. Sizes are free space.
Exit code: 0 if this machine can train, on a GPU or the CPU; 1 if not, with the reasons in the last lines."""
MARKS = dict(ok=' ', note='-', stop='!')


@command
def main(argv: Sequence[str] | None) -> None:
    parser = make_parser('doctor.py', __doc__ or '', EXAMPLE)
    add_json(parser, 'can_train, findings')
    parser.parse_args(argv)

    findings = [*check_packages(), *check_torch(), *check_machine()]
    if not any(each.name == 'torch' and each.status == 'stop' for each in findings):
        findings += check_weights()
    stops = [each for each in findings if each.status == 'stop']
    print_findings(findings)
    print('\nthis machine can train' if not stops else '')
    for each in stops:
        print(f'this machine cannot train: {each.name}: {each.value}' + (f'; {each.remedy}' if each.remedy else ''))
    give({'can_train': not stops, 'findings': [asdict(each) for each in findings]})
    if stops:
        sys.exit(1)


def print_findings(findings: Sequence[Finding]) -> None:
    """A line each, under the headings of their groups."""
    width = max(len(each.name) for each in findings)
    group = ''
    for each in findings:
        if each.group != group:
            print(f'{"" if not group else chr(10)}{each.group}')
            group = each.group
        remedy = f'; {each.remedy}' if each.remedy else ''
        print(f'{MARKS[each.status]} {each.name.ljust(width)}  {each.value}{remedy}')
