"""A disk that fills up where no writer of ours notices it is one line all the same."""

import errno
import os

import pytest

from ops import cli


def test_a_full_disk_is_one_line_wherever_it_is_met(monkeypatch, capsys):
    def full(**_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/events")

    monkeypatch.setattr(cli, "app", full)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    said = "quarterdeck: expected room on the disk at runs/events, was: No space left on device\n"
    assert capsys.readouterr().err == said


def test_a_place_that_cannot_be_used_is_one_line_too(monkeypatch, capsys):
    def gone(**_):
        raise FileNotFoundError(errno.ENOENT, "No such file", "ours")

    monkeypatch.setattr(cli, "app", gone)
    with pytest.raises(SystemExit):
        cli.main()
    assert (
        "a file or folder that can be used at ours, was: No such file" in capsys.readouterr().err
    )
