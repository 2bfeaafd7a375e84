"""The committed coefficients are those that the script computes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_script_writes_what_is_committed() -> None:
    script = Path(__file__).parent.parent / "tools" / "coefficients.py"
    done = subprocess.run([sys.executable, str(script), "--check"], check=False)
    assert done.returncode == 0, "kdpinn_edge/numerics/coefficients.py differs: run python tools/coefficients.py"
