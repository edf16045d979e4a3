"""Rules of the house that no linter knows: short files, no addresses of registries or machines, the file map is true."""

import ast
import re
import subprocess
import sys
from pathlib import Path

root = Path(__file__).resolve().parents[1]
tracked = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True).stdout.split()
wrong = []

for name in tracked:
    if name == "uv.lock":
        wrong.append("uv.lock: names registry addresses; constraints.txt holds the versions")
    if re.search(r"\.(png|jpg|mp4|gif|npz|safetensors)$", name):
        continue
    text = (root / name).read_text(errors="replace")
    if name.startswith("src/") and text.count("\n") > 300:
        wrong.append(f"{name}: {text.count(chr(10))} lines, more than 300")
    wrong += [
        f"{name}:{number}: a path of a machine or the address of a registry"
        for number, line in enumerate(text.split("\n"), 1)
        if re.search(r"(?<![\w.~])/(?:wor[k]|roo[t]|hom[e])/|index-url *=|registry *= *.http|pypi\.or[g]|pythonhoste[d]", line)
    ]

for name in tracked:
    if name.startswith("src/") and name.endswith(".py"):
        for node in ast.walk(ast.parse((root / name).read_text())):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
                if lines > 50:
                    wrong.append(f"{name}:{node.lineno}: {node.name} has {lines} lines, more than 50")

contributing = (root / "CONTRIBUTING.md").read_text()
for name in tracked:
    if name.startswith("src/") and name.endswith(".py") and not name.endswith("__init__.py"):
        short = name.removeprefix("src/followspot/")
        if f"`{short}`" not in contributing:
            wrong.append(f"CONTRIBUTING.md: the file map lacks `{short}`")

version = re.search(r'^version = "(.+)"$', (root / "pyproject.toml").read_text(), re.MULTILINE)
newest = re.search(r"^## \[?(\d[^\] ]*)", (root / "CHANGELOG.md").read_text(), re.MULTILINE)
if not version or not newest or version[1] != newest[1]:
    wrong.append("CHANGELOG.md: the newest heading is not the version of pyproject.toml")

print("\n".join(wrong) or f"{len(tracked)} files keep the rules")
sys.exit(bool(wrong))
