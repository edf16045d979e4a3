"""The README's first screen works as printed: two commands and a picture, and no host is named."""

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_first_two_bash_blocks_are_the_demo_and_the_tests():
    blocks = re.findall(r"^```bash\n(.+?)\n```$", README, flags=re.MULTILINE | re.DOTALL)
    assert blocks[:2] == ["pip install uv && uv run followspot demo", "pip install uv && uv run pytest -n auto"]


def test_dependencies_of_the_second_command_are_installed_by_default():
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    assert {"include-group": "test"} in groups["dev"]  # uv installs the group "dev" unless told otherwise
    assert any(entry.startswith("pytest") for entry in groups["test"])


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_no_host_is_named(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert re.findall(r"https?://\S+|\bwww\.\S+|\b[\w-]+\.(?:org|com|net|io|dev)\b", text) == []


def test_links_lead_to_files():
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text):
            assert target.startswith("https://") or (ROOT / target).exists(), f"{name}: {target}"


def test_picture_is_there_and_small():
    (path,) = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README)
    assert (ROOT / path).stat().st_size < 400_000
    with Image.open(ROOT / path) as picture:
        assert picture.width >= 1000
        assert np.asarray(picture.convert("L")).std() > 20


def test_changelog_and_citation_have_the_version_of_the_project():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    newest = re.search(r"^## (\S+) - (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert newest is not None
    assert newest[1] == version
    assert f"\nversion: {version}\n" in citation
    assert f"\ndate-released: {newest[2]}\n" in citation


def test_file_map_of_contributing_is_true():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^- `([\w/]+\.py)` ", text, re.MULTILINE))
    package = ROOT / "src" / "followspot"
    assert listed == {path.relative_to(package).as_posix() for path in package.rglob("*.py") if path.name != "__init__.py"}
