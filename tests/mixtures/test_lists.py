"""Mixtures are drawn evenly, and written and read as the official lists."""

import collections

import numpy as np
import pytest
from refusals import refused

from dpcl_dprnn.mixtures.lists import (
    draw_mixtures,
    format_mixture,
    mixture_name,
    read_list,
)

SPEECH = {f"p{n}": [f"p{n}/{i}.wav" for i in range(5)] for n in range(8)}
# A line as MERL wrote it, with a blank at its end, and what it says.
LINE = (
    "wsj0/si_tr_s/01c/01ca0102.wav 1.2972 wsj0/si_tr_s/209/209c0105.wav"
    " -1.2972 wsj0/si_tr_s/20m/20mo010h.wav 0 \n"
)
NAME = "01ca0102_1.2972_209c0105_-1.2972_20mo010h_0"


def draw(count, n_spks, speech=SPEECH, seed=0):
    return draw_mixtures(speech, count, n_spks, np.random.default_rng(seed))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "list.txt"


def test_draw_balances_utterances_and_avoids_repeats():
    mixtures = draw(400, 3)
    uses = collections.Counter(path for m in mixtures for path, _ in m)
    assert len(uses) == 40 and max(uses.values()) - min(uses.values()) <= 2
    assert all(len({p.split("/")[0] for p, _ in m}) == 3 for m in mixtures)
    assert len({frozenset(p for p, _ in m) for m in mixtures}) == 400
    assert len({mixture_name(m) for m in mixtures}) == 400


def test_draw_gains():
    mixtures = draw(300, 3)
    first, second, third = (
        np.array([m[n][1] for m in mixtures]) for n in range(3)
    )
    assert first.min() >= 0 and 2.4 < first.max() <= 2.5
    np.testing.assert_array_equal(first, -second)
    assert not third.any()
    # Either of two speakers may be the louder one.
    assert 100 < sum(m[0][0] < m[1][0] for m in mixtures) < 200


def test_draw_repeats_where_it_must():
    """One pair only: it comes again, under another name."""
    mixtures = draw(50, 2, {"a": ["a/1.wav"], "b": ["b/1.wav"]})
    assert len({mixture_name(m) for m in mixtures}) == 50


def test_seed_decides():
    assert draw(30, 2) == draw(30, 2)
    assert draw(30, 2) != draw(30, 2, seed=1)


@pytest.mark.parametrize("n_spks", [2, 3, 5])
def test_what_is_drawn_reads_back(tmp_path, n_spks):
    mixtures = draw(200, n_spks)
    path = tmp_path / "list.txt"
    path.write_text("".join(format_mixture(m) + "\n" for m in mixtures))
    assert read_list(path, n_spks) == mixtures


def test_read_list_takes_official_lines(path):
    path.write_text(LINE + "a/c.wav 3.1e-05 d.wav -3.1e-05\n")
    official, small = read_list(path)
    assert official[1] == ("wsj0/si_tr_s/209/209c0105.wav", -1.2972)
    assert mixture_name(official) == NAME
    assert format_mixture(official) + " \n" == LINE
    assert small == [("a/c.wav", 3.1e-05), ("d.wav", -3.1e-05)]


@pytest.mark.parametrize(
    "line, gains",
    [
        ("a.wav +1.9 b.wav -.5", [1.9, -0.5]),
        ("a.wav  1.  b.wav\t-1E-1\t", [1, -0.1]),
        (" \ta.wav \t 60 b.wav -60", [60, -60]),
    ],
)
def test_read_list_takes_what_people_write(path, line, gains):
    path.write_text(f"{line}\n")
    assert read_list(path) == [list(zip(["a.wav", "b.wav"], gains))]  # noqa: B905


@pytest.mark.parametrize("gain", ["1e500", "-1e500", "60.1", "-400"])
def test_read_list_refuses_what_nobody_hears(path, gain):
    path.write_text(f"a.wav 1 b.wav -1\na.wav 1 b.wav {gain}\n")
    with refused("list.txt, line 2, .* gains within 60 dB"):
        read_list(path)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "a.wav",
        "a.wav 1 b.wav",
        "a.wav 1 b.wav 1.2.3",
        "a.wav 1 b.wav -",
        "a.wav 1 b.wav --1",
        "a.wav 1 b.wav 1e",
        "a.wav 1 b.wav nan",
        "1 a.wav 2 b.wav",
    ],
)
def test_read_list_names_the_bad_line(path, line):
    path.write_text(f"a.wav 1 b.wav -1\n{line}\n")
    with refused("list.txt, line 2"):
        read_list(path)


def test_read_list_counts_the_speakers(path):
    path.write_text("a.wav 1 b.wav -1\na.wav 1 b.wav -1 c.wav 0\n")
    assert [len(m) for m in read_list(path)] == [2, 3]
    with refused("line 2, has 3 speakers, but 2 are"):
        read_list(path, 2)
    with refused("line 1, has 2 speakers, but 3 are"):
        read_list(path, 3)


def test_bad_list_file(tmp_path):
    with refused(r"Cannot read .*no\.txt"):
        read_list(tmp_path / "no.txt")
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00")
    with refused(r"Cannot read .*list\.txt"):
        read_list(tmp_path / "list.txt")
