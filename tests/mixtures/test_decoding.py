"""Compressed utterances are decoded once, and to the bit."""

import os

import numpy as np
import pytest
import soundfile
import wsj0_tree
from refusals import refused
from shorten import write_shortened

from dpcl_dprnn.mixtures import rendering
from dpcl_dprnn.mixtures.sets import mix_wsj0
from dpcl_dprnn.sound import ffmpeg, sphere

pytestmark = pytest.mark.skipif(
    not ffmpeg.find_decoder(), reason="no program decodes shorten"
)
LISTS = wsj0_tree.LISTS[2]
STEMS = tuple(wsj0_tree.utterances(LISTS.values()))


@pytest.fixture
def base(tmp_path):
    """WSJ0 with nothing but compressed files."""
    for path in wsj0_tree.utterances(LISTS.values()).values():
        file = (tmp_path / "discs" / path).with_suffix(".wv1")
        write_shortened(file, wsj0_tree.speech_of(file.stem))
    wsj0_tree.write_lists(tmp_path / "lists", LISTS)
    return tmp_path


@pytest.fixture
def decoded(monkeypatch):
    """The stems of the files that were decoded, as often as they were."""
    decode, stems = sphere._decode, []

    def count(path, frames):
        stems.append(os.path.basename(path).removesuffix(".wv1"))
        return decode(path, frames)

    monkeypatch.setattr(sphere, "_decode", count)
    return stems


def mix(base, **options):
    options = {"jobs": 1, **options}
    places = (base / "discs", base / "lists", base / "out")
    return mix_wsj0(*places, **options)[0]


def test_once_for_all_mixtures(base, decoded):
    """Whatever the rates and modes; what was decoded then goes."""
    out = mix(base, rates=[8000, 16000], modes=["min", "max"])
    assert sorted(decoded) == sorted(STEMS)
    assert sorted(path.name for path in out.iterdir()) == ["wav16k", "wav8k"]


@pytest.fixture
def scratch(base, monkeypatch):
    """What a run had decoded that was killed when it began to mix."""

    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(rendering, "_render_task", interrupted)
        with pytest.raises(KeyboardInterrupt):
            mix(base)
    (folder,) = base.glob("out/2speakers/.decoded*")
    return folder


def test_to_the_bit(scratch):
    read = [soundfile.read(path, dtype="int16") for path in scratch.iterdir()]
    assert {rate for _, rate in read} == {wsj0_tree.RATE}
    wanted = sorted(wsj0_tree.speech_of(stem).tobytes() for stem in STEMS)
    assert sorted(samples.tobytes() for samples, _ in read) == wanted


def test_kept_after_a_kill(base, decoded, scratch):
    """A run that is started again decodes what is missing or has changed."""
    (path,) = (base / "discs").rglob(f"{STEMS[0]}.wv1")
    write_shortened(path, wsj0_tree.speech_of("another"))
    sorted(scratch.iterdir())[0].unlink()
    (scratch / ".half.wav").write_bytes(b"RIFF")
    out = mix(base)
    assert len(decoded) - len(STEMS) in (1, 2)  # they may be the same one
    assert STEMS[0] in decoded[len(STEMS) :]
    assert [path.name for path in out.iterdir()] == ["wav8k"]


def test_leftovers_go_although_all_is_there(base):
    """A run was killed after the mixtures showed."""
    out = mix(base)
    (out / ".decoded-unfinished").mkdir()
    (out / ".decoded-unfinished/a.wav").write_bytes(b"RIFF")
    mix(base)
    assert [path.name for path in out.iterdir()] == ["wav8k"]


def test_broken_file_is_named_before_mixing(base):
    file = next(base.rglob("*.wv1"))
    write_shortened(file, np.zeros(8000))
    with refused(f"{file} is silent"):
        mix(base)
    assert not list(base.glob("out/*/*/*/*/mix"))
