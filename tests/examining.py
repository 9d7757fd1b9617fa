"""Runs the data doctor for its tests."""

import os
import pathlib

import prepare_data
from dpcl_dprnn.doctor.check import examine


def run(data, *options, **more):
    return examine(data, *options, **{"jobs": 1, **more})


def found(data, **options):
    """The problems as {(kind, file below the data, or what else it says)}."""
    return {
        (p.kind, os.path.relpath(p.where, data) if "/" in p.where else p.where)
        for p in run(data, **options).problems
    }


def command(capsys, *words):
    """Exit status and page of the command."""
    status = prepare_data.main(["check", *map(str, words)])
    return status, capsys.readouterr().out


def page_naming(problems, capsys, *words):
    """The page of the command, which tells of all those problems."""
    status, page = command(capsys, *words)
    lines = page.splitlines()
    assert status == 1 and lines[-1] != "OK"
    for kind, where in problems:
        assert any(
            kind.title in line and line.endswith(kind.advice) for line in lines
        )
        name = pathlib.PurePath(where).name
        assert any(line.startswith("    ") and name in line for line in lines)
    return page
