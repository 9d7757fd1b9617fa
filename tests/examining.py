"""Runs the data doctor for its tests."""

import os

import prepare_data
from dpcl_dprnn.doctor.check import examine


def run(data, *options, **more):
    return examine(data, *options, **{"jobs": 1, "progress": False, **more})


def found(data, **options):
    """The problems as {(kind, name of the file below the data)}."""
    problems = run(data, **options).problems
    return {(p.kind, os.path.relpath(p.where, data)) for p in problems}


def command(capsys, *words):
    """Exit status and page of the command."""
    status = prepare_data.main(["check", *map(str, words)])
    return status, capsys.readouterr().out
