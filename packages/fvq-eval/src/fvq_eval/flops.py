"""Cost of projectors: the paper's table 10 measured on our modules.

    python -m fvq_eval.flops --json

Multiply-accumulates, as fvcore counts them: linear maps and matrix products, attention unfused so that its products
are seen; normalisation and activations are left out, as they are in the paper's figures.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import torch
from fvcore.nn import FlopCountAnalysis

from fvq_core.projector import Projector
from fvq_core.registry import PROJECTORS

CODE_DIM = 256
# (codebook size, projector config, the paper's figure in multiply-accumulates)
TABLE_10: tuple[tuple[int, dict[str, Any], float], ...] = (
    (16384, dict(type='LinearProjector'), 1.07e9),
    (16384, dict(type='MLPProjector', depth=5), 5.37e9),
    (16384, dict(type='VQBridge', patch_size=16, hidden_dim=256), 4.30e9),
    (262144, dict(type='LinearProjector'), 17.18e9),
    (262144, dict(type='MLPProjector', depth=5), 85.90e9),
    (262144, dict(type='VQBridge', patch_size=64, hidden_dim=256), 55.89e9),
)
COUNTED = {'linear', 'matmul', 'conv', 'einsum', 'bmm', 'addmm'}


def projector_flops(projector: Projector) -> int:
    """Multiply-accumulates of mapping the codebook once."""
    projector.fuse_attention(False)
    device = next(projector.parameters()).device
    codebook_KD = torch.zeros(projector.codebook_size, projector.source_dim, device=device)
    analysis = FlopCountAnalysis(projector.eval(), codebook_KD)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings('none')
    with torch.no_grad():
        return int(sum(count for operator, count in analysis.by_operator().items() if operator in COUNTED))


def table_10() -> list[dict[str, Any]]:
    """Measured beside paper for each entry of table 10."""
    rows = []
    for codebook_size, config, paper in TABLE_10:
        projector = PROJECTORS.build(config, codebook_size=codebook_size, code_dim=CODE_DIM)
        measured = projector_flops(projector)
        row = {'codebook_size': codebook_size, 'projector': config['type'], 'config': config}
        rows.append({**row, 'measured': measured, 'paper': paper, 'relative_difference': measured / paper - 1.0})
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')
    args = parser.parse_args()
    rows = table_10()
    if args.json:
        print(json.dumps({'table': 10, 'unit': 'multiply-accumulates', 'code_dim': CODE_DIM, 'rows': rows}, indent=2))
        return
    print(f'{"K":>7s}  {"projector":16s} {"measured":>9s} {"paper":>8s}  difference')
    for row in rows:
        measured, paper = (f'{row[key] / 1e9:.2f} G' for key in ('measured', 'paper'))
        print(
            f'{row["codebook_size"]:7d}  {row["projector"]:16s} {measured:>9s} {paper:>8s}  {row["relative_difference"]:+.2%}'
        )


if __name__ == '__main__':
    main()
