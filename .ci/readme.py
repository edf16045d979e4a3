"""Runs the first two commands of the README exactly as they are printed, in a fresh copy of the repository."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

root = Path(__file__).resolve().parents[1]
text = (root / "README.md").read_text()
commands = re.findall(r"^```bash\n(.+?)\n```$", text, flags=re.MULTILINE | re.DOTALL)[:2]
assert "demo" in commands[0], commands
assert "pytest" in commands[1], commands
path = os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if ".venv" not in p)

with tempfile.TemporaryDirectory(dir=root.parent if os.access(root.parent, os.W_OK) else None) as place:
    copy = Path(place) / "followspot"
    subprocess.run(["git", "clone", "-q", str(root), str(copy)], check=True)
    for command in commands:
        print("$", command, flush=True)
        subprocess.run(["bash", "-euo", "pipefail", "-c", command], cwd=copy, check=True, env=os.environ | {"PATH": path})
    print("$ uv run --extra backbones pytest tests/models", flush=True)
    subprocess.run(["uv", "run", "--extra", "backbones", "pytest", "tests/models"], cwd=copy, check=True, env=os.environ | {"PATH": path})
    found = [p.name for p in sorted((copy / "followspot-demo").iterdir())]
    print("followspot-demo:", found)
    assert {"overlay.mp4", "masks", "tracks.json", "tracks.csv"} <= set(found), found
    shutil.rmtree(copy)
