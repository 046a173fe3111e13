"""`python benchmarks/gpu_check`, from any folder."""

import signal
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[2])  # else this folder

from benchmarks.gpu_check.cli import main  # noqa: E402 - found through the path above

signal.signal(
    signal.SIGTERM, lambda number, frame: sys.exit(128 + number)
)  # an exception, so that the section is killed
sys.exit(main())
