"""wsj0-mix is made to the digit and to the bit, and nothing else is."""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import wsj0_tree
from planting import cut
from refusals import refused
from shorten import write_shortened, write_sphere

from dpcl_dprnn.mixtures.sets import mix_wsj0
from dpcl_dprnn.sound import ffmpeg
from dpcl_dprnn.sound.ffmpeg import find_decoder

COMBINATIONS = tuple(itertools.product((8000, 16000), ("min", "max")))
N_SPKS = (2, 3)


def mix(base, out, n_spks=2, **options):
    options = {"jobs": 1, **options}
    wsj0, lists = base / "discs", base / "lists"
    return mix_wsj0(wsj0, lists, out, n_spks=n_spks, **options)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """WSJ0 and its lists, below a folder with spaces and umlauts."""
    base = tmp_path_factory.mktemp("mes données, größer")
    wsj0_tree.make_wsj0(base / "discs")
    for n_spks in N_SPKS:
        lists = wsj0_tree.LISTS[n_spks]
        wsj0_tree.write_lists(base / "lists", lists, n_spks)
    return base


@pytest.fixture
def copy(base, tmp_path):
    """One to spoil."""
    wsj0_tree.make_wsj0(tmp_path / "discs")
    wsj0_tree.write_lists(tmp_path / "lists", wsj0_tree.LISTS[2])
    return tmp_path


@pytest.fixture(scope="module")
def made(base):
    """All rates and modes, with 2 and with 3 speakers."""
    for n_spks in N_SPKS:
        folder, made = mix(
            *(base, base / "out", n_spks),
            rates=[8000, 16000],
            modes=["min", "max"],
        )
        assert made and folder == base / "out" / f"{n_spks}speakers"
    return base / "out"


def measure(stems):
    """Active levels in loops; of the whole utterances, at 8 kHz."""
    speech = {stem: wsj0_tree.speech_of(stem) for stem in stems}
    return {
        stem: wsj0_tree.p56_by_sample(wsj0_tree.at_8k(samples))
        for stem, samples in speech.items()
    }


@pytest.fixture(scope="module")
def levels():
    return measure(wsj0_tree.utterances())


def files_of(place, line):
    """Where a line's mixture and sources are."""
    count = len(wsj0_tree.entries(line))
    kinds = ["mix"] + [f"s{n}" for n in range(1, count + 1)]
    name = wsj0_tree.name_of(line)
    return [place / kind / f"{name}.wav" for kind in kinds]


def read_int16(path, rate):
    samples, file_rate = soundfile.read(path, dtype="int16")
    info = soundfile.info(path)
    assert (file_rate, info.format, info.subtype) == (rate, "WAV", "PCM_16")
    return samples.astype(int)


def check_rule(folder, lists, rate, mode, levels):
    """Every sample, and the sum; and that the files are exactly these."""
    for split, text in lists.items():
        place = folder / f"wav{rate // 1000}k" / mode / split
        wanted = {place / "mixtures.json"}
        for line in text.splitlines():
            paths = files_of(place, line)
            wanted |= set(paths)
            signals = np.array([read_int16(path, rate) for path in paths])
            rule = wsj0_tree.plain_rule(line, levels, rate, mode)
            assert signals.shape == rule.shape
            np.testing.assert_allclose(signals, rule, rtol=0, atol=1)
            # Half a step at most for each file that was rounded.
            rest = np.abs(signals[0] - signals[1:].sum(axis=0)).max()
            assert rest <= len(paths) / 2
            assert np.abs(signals).max() == 29491  # 0.9 of full scale
        found = {path for path in place.rglob("*") if path.is_file()}
        assert found == wanted


@pytest.mark.parametrize("rate, mode", COMBINATIONS)
@pytest.mark.parametrize("n_spks", N_SPKS)
def test_every_sample_keeps_the_rule(made, levels, n_spks, rate, mode):
    lists = wsj0_tree.LISTS[n_spks]
    check_rule(made / f"{n_spks}speakers", lists, rate, mode, levels)


def test_nothing_else_is_made(made):
    """No hidden file, and no folder but those of the layout."""
    parts = {path.relative_to(made).parts for path in made.rglob("*")}
    kinds = {"mix", "s1", "s2", "s3", "mixtures.json"}
    levels = ({"2speakers", "3speakers"}, {"wav8k", "wav16k"})
    levels += ({"min", "max"}, {"tr", "cv", "tt"}, kinds)
    for depth, names in enumerate(levels):
        assert {p[depth] for p in parts if len(p) > depth} == names


@pytest.mark.skipif(not find_decoder(), reason="no program decodes shorten")
def test_tree_has_a_compressed_file(base):
    """Else the tests above would not read one."""
    files = [p for p in (base / "discs").rglob("*") if p.is_file()]
    assert sum(b"ajkg" in path.read_bytes() for path in files) == 1


@pytest.mark.parametrize("rate, mode", [(8000, "min"), (16000, "max")])
def test_published_levels_take_the_place(base, tmp_path, rate, mode):
    """Levels that no speech has, each other than its neighbours."""
    stems = wsj0_tree.utterances(wsj0_tree.LISTS[2].values())
    levels = {stem: 10.0 ** (n % 5 - 6) for n, stem in enumerate(stems)}
    table = "".join(f"{stem} {level:.6e}\n" for stem, level in levels.items())
    (tmp_path / "activlev_si_tr_s.txt").write_text(table)
    options = {"levels": tmp_path, "rates": [rate], "modes": [mode]}
    folder, _ = mix(base, tmp_path / "out", **options)
    check_rule(folder, wsj0_tree.LISTS[2], rate, mode, levels)


def test_same_bytes_from_any_number_of_processes(base, tmp_path):
    """With more mixtures than a process takes at a time."""
    paths = list(wsj0_tree.utterances().values())[:7]
    pairs = list(itertools.permutations(paths, 2))
    lines = [
        f"{a} {number / 20:.5g} {b} -{number / 20:.5g} \n"
        for number, (a, b) in enumerate(pairs, 1)
    ]
    lists = wsj0_tree.write_lists(tmp_path / "lists", {"tt": "".join(lines)})
    outs = []
    for jobs in (1, 3):
        folder, _ = mix_wsj0(
            *(base / "discs", lists, tmp_path / str(jobs)),
            splits=["tt"],
            jobs=jobs,
        )
        outs.append(wsj0_tree.contents(folder))
    assert outs[0] == outs[1] and len(outs[0]) == 3 * 42 + 1


def test_one_by_one_is_as_all_at_once(base, made, tmp_path):
    """What is there is kept, whether rate, mode or split is added."""
    kept = {}
    for options in (
        {"rates": [8000], "splits": ["cv"]},
        {"rates": [16000], "modes": ["max"], "splits": ["tr", "tt"]},
        {"rates": [16000, 16000], "modes": ["max", "min", "max"]},
        {"rates": [8000, 16000], "modes": ["min", "max"]},
    ):
        folder, new = mix(base, tmp_path, **options)
        assert new and kept == wsj0_tree.stamps(kept)
        kept = wsj0_tree.stamps(p for p in folder.rglob("*") if p.is_file())
    contents = wsj0_tree.contents(made / "2speakers")
    assert wsj0_tree.contents(folder) == contents
    assert mix(base, tmp_path, **options) == (folder, False)
    assert kept == wsj0_tree.stamps(p for p in folder.rglob("*") if p.is_file())


def spoil_list(base):
    path = base / "lists" / "mix_2_spk_tt.txt"
    path.write_text(path.read_text().replace("0.60431", "0.60432"))


def spoil_speech(base):
    path = next((base / "discs").rglob("423a0110.*"), None)
    path = path or next((base / "discs").rglob("423A0110.*"))
    write_sphere(path, wsj0_tree.speech_of("another, of another length"))


def replace_speech(base):
    """Other samples, but not more of them, at the same time."""
    path = utterance_file(base, 0)
    stat, size = path.stat(), len(wsj0_tree.speech_of("40na010x"))
    rng = np.random.default_rng(0)
    write_sphere(path, rng.integers(-9000, 9000, size))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size


@pytest.mark.parametrize("change", [spoil_list, spoil_speech, replace_speech])
def test_other_mixtures_are_refused(copy, change):
    folder, _ = mix(copy, copy / "out")
    change(copy)
    before = wsj0_tree.stamps(folder.rglob("*"))
    split = "tr" if change is replace_speech else "tt"
    message = rf"{split} is already there, with"
    with refused(message):
        mix(copy, copy / "out", modes=["min", "max"])
    assert wsj0_tree.stamps(folder.rglob("*")) == before


def test_touched_or_moved_speech_is_the_same(copy):
    """Neither time stamps nor folders count, but what the files hold."""
    mix(copy, copy / "out")
    for path in (copy / "discs").rglob("*.*"):
        os.utime(path, ns=(0, 0))
    (copy / "discs").rename(copy / "moved")
    (copy / "discs").mkdir()
    (copy / "moved").rename(copy / "discs/moved")
    assert not mix(copy, copy / "out")[1]


def test_speech_that_has_changed_is_read_again(copy):
    """Nothing is remembered from one data set to the next."""
    line = wsj0_tree.LISTS[2]["tt"].splitlines()[1]
    outs = []
    for name in ("before", "after"):
        folder, _ = mix(copy, copy / name, splits=["tt"])
        paths = files_of(folder / "wav8k/min/tt", line)
        outs.append(paths[1].read_bytes())
        spoil_speech(copy)
    assert outs[0] != outs[1]


def utterance_file(base, number):
    """One that is a plain SPHERE file: the first of three."""
    stem = list(wsj0_tree.utterances())[number]
    return next((base / "discs").rglob(f"{stem}.wv1"))


def compressed_and_cut(path):
    write_shortened(path, wsj0_tree.speech_of("any"))
    cut(path)


@pytest.mark.parametrize(
    "spoil, message, begun",
    [
        (Path.unlink, r"lacks 1 of the 11 .*si_tr_s/40n/40na010x\.wav", False),
        (
            lambda path: path.rename(path.with_suffix(".wv2")),
            *(r"1 of them are there as \.wv2 only", False),
        ),
        (cut, r"40na010x\.wv1 is truncated", False),
        (
            lambda path: write_sphere(path, np.ones((8000, 2))),
            *(r"40na010x\.wv1 has 2 channels", False),
        ),
        (
            lambda path: write_sphere(path, np.zeros(8000)),
            *(r"40na010x\.wv1 is silent", True),
        ),
        (compressed_and_cut, r"40na010x\.wv1", bool(find_decoder())),
    ],
    ids=["missing", "second", "cut", "stereo", "silent", "compressed"],
)
def test_bad_utterance(copy, spoil, message, begun):
    """What headers tell is told before anything is written."""
    spoil(utterance_file(copy, 0))
    with refused(message):
        mix(copy, copy / "out")
    assert (copy / "out").exists() == begun
    assert not list(copy.glob("out/*/*/*/tr"))


def test_missing_decoder_shows_before_the_work(copy, monkeypatch):
    write_shortened(utterance_file(copy, 0), wsj0_tree.speech_of("any"))
    monkeypatch.setattr(ffmpeg, "find_decoder", lambda: None)
    with refused("no program to decode it"):
        mix(copy, copy / "out")
    assert not (copy / "out").exists()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"n_spks": 4}, r"has no mix_4_spk_tr\.txt"),
        ({"rates": [8000, 0]}, "rate is 0"),
        ({"modes": ["min", "mean"]}, "mode is 'mean'"),
        ({"jobs": -2}, "jobs is -2"),
    ],
)
def test_bad_options(base, tmp_path, options, message):
    with refused(message):
        mix(base, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
