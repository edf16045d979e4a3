"""Options and fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line does; read when torch is first imported


def pytest_addoption(parser):
    parser.addoption("--shared-data", default=None, help="folder with real footage (davis/, boxes/ ...); default ../shared/data if there")


@pytest.fixture(scope="session")
def shared_data(pytestconfig):
    given = pytestconfig.getoption("--shared-data")
    folder = Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        if given:
            pytest.fail(f"--shared-data {given} is not a folder")
        pytest.skip("real footage is not on this machine (pass --shared-data FOLDER)")
    return folder
