import pytest

from followspot.ops.backends.native import library


def test_info_says_which_backends_there_are_and_why(followspot, monkeypatch):
    monkeypatch.delenv(library.VARIABLE, raising=False)
    said = followspot("info")
    assert said.code == 0
    lines = dict(line.split(maxsplit=1) for line in said.out.splitlines() if " " in line.strip())
    assert lines["native"] == library.state()
    assert lines["tiled"].startswith("yes")
    assert "threads" in lines["machine"]


@pytest.mark.skipif(isinstance(library.load(), str), reason="no native backend here")
def test_info_says_what_the_environment_turned_off(followspot, monkeypatch):
    monkeypatch.setenv(library.VARIABLE, "off")
    assert "no, FOLLOWSPOT_NATIVE=off" in followspot("info").out
    monkeypatch.setenv(library.VARIABLE, "wrong")
    said = followspot("info")
    assert said.code == 2
    assert "expected auto, off, portable" in said.err
