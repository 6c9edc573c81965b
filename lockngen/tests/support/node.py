"""Programs that use npm packages."""

import shutil
import subprocess
from pathlib import Path

import pytest

NODE = Path(__file__).parents[1] / "node"


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        not shutil.which("node") or not (NODE / "node_modules" / package).is_dir(),
        reason="no npm packages: npm install --prefix lockngen/tests/node",
    )


def run(folder: Path, code: str, *arguments: str) -> str:
    """Run a module with the npm packages in this folder, and return what it prints."""
    (folder / "node_modules").symlink_to(NODE / "node_modules")
    (folder / "main.mjs").write_text(code)
    done = subprocess.run(["node", "main.mjs", *arguments], cwd=folder, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    return done.stdout
