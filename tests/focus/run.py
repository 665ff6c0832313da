"""Run the published FOCUS validator over an export: `python -m tests.focus.run [FOLDER]`.

It is 400 MB with what it needs, and its needs contradict ours: it gets an environment of its own, by default `.focus/`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.fakes import billing

from asbx.cli.main import main as asbx

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# Asks for ChargeType, a column that FOCUS 1.0 does not have.
IMPOSSIBLE = ["SkuPriceId_Nullable"]


def main() -> int:
    """Return 0 where nothing fails that can be passed, and everything that was spoiled was found."""
    found = validate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / ".focus")
    missed = [name for name, failed in found["spoiled"].items() if not set(failed) - set(IMPOSSIBLE)]
    print(
        f"FOCUS 1.0: {found['passed']} rules passed on {found['rows']} rows, failed: {found['failed']}"
        f" (expected: {IMPOSSIBLE}); spoiled and not found: {missed}"
    )
    return int(found["failed"] != IMPOSSIBLE or bool(missed) or not found["rows"])


def validate(folder: Path) -> dict[str, Any]:
    """Export a month and return what the validator says of it."""
    python = folder / "bin" / "python"
    if not python.exists():
        uv = str(ROOT / ".uv" / "bin" / "uv")
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
        wanted = ["--python", str(python), "-r", str(HERE / "requirements.txt")]
        subprocess.run([uv, "pip", "install", "--quiet", *wanted], check=True)
    with tempfile.TemporaryDirectory() as name:
        path, output = billing.site(Path(name), cost={"billing_account": "123456789012"}), Path(name) / "focus.csv"
        options = ["--period", "2024-03", "--format", "focus", "--output", str(output), "--config", str(path)]
        assert asbx(["cost", *options]) == 0
        said = subprocess.run([str(python), str(HERE / "check.py"), str(output)], check=True, capture_output=True)
    answer: dict[str, Any] = json.loads(said.stdout.splitlines()[-1])
    return answer


if __name__ == "__main__":
    sys.exit(main())
