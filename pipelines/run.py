"""The only entry point: ``python pipelines/run.py [RECIPE] [options]``; see ``--help``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# One thread per worker, NumPy's own included; it reads these once. Workers inherit them.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

# `python pipelines/run.py` puts this folder on the path and not the project's root, and a project
# module must win over an installed package of the same name.
_ROOT = str(Path(__file__).resolve().parents[1])
if sys.path[0] != _ROOT:
    if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
        sys.path.pop(0)
    sys.path.insert(0, _ROOT)

from pipelines.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
