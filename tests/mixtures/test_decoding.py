"""Compressed utterances are decoded once, and to the bit."""

import os
import shutil

import numpy as np
import pytest
import soundfile
import wsj0_tree
from shorten import write_shortened

from dpcl_dprnn.common.errors import UserError
from dpcl_dprnn.mixtures import rendering
from dpcl_dprnn.mixtures.decoding import decode_all
from dpcl_dprnn.mixtures.sets import mix_wsj0
from dpcl_dprnn.speech import sphere

pytestmark = pytest.mark.skipif(
    not sphere.find_decoder(), reason="no program decodes shorten"
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
    options = {"jobs": 1, "progress": False, **options}
    places = (base / "discs", base / "lists", base / "out")
    return mix_wsj0(*places, **options)[0]


def test_to_the_bit_and_once(base, tmp_path, decoded):
    files = sorted(map(str, base.rglob("*.wv1")))
    for _ in range(2):
        found = decode_all(files, tmp_path / "wav", jobs=1, progress=False)
        assert list(found) == files
        assert sorted(decoded) == sorted(STEMS)
    for file, wav in found.items():
        samples, rate = soundfile.read(wav, dtype="int16")
        stem = os.path.basename(file).removesuffix(".wv1")
        np.testing.assert_array_equal(samples, wsj0_tree.speech_of(stem))
        assert rate == wsj0_tree.RATE


def test_changed_file_is_decoded_again(base, tmp_path):
    file = next(base.rglob("*.wv1"))
    first = decode_all([str(file)], tmp_path, jobs=1, progress=False)
    write_shortened(file, wsj0_tree.speech_of("another"))
    second = decode_all([str(file)], tmp_path, jobs=1, progress=False)
    samples, _ = soundfile.read(second[str(file)], dtype="int16")
    np.testing.assert_array_equal(samples, wsj0_tree.speech_of("another"))
    os.utime(file, ns=(0, 0))
    third = decode_all([str(file)], tmp_path, jobs=1, progress=False)
    assert len({*first.values(), *second.values(), *third.values()}) == 3


def test_nothing_to_decode(tmp_path):
    assert decode_all([], tmp_path / "wav") == {}
    assert not (tmp_path / "wav").exists()


def test_once_for_all_mixtures(base, decoded):
    """Whatever the rates and modes; what was decoded then goes."""
    out = mix(base, rates=[8000, 16000], modes=["min", "max"])
    assert sorted(decoded) == sorted(STEMS)
    assert sorted(path.name for path in out.iterdir()) == ["wav16k", "wav8k"]


def test_kept_after_a_kill(base, decoded, monkeypatch):
    """A run that is started again decodes what is missing."""

    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(rendering, "write_wav", interrupted)
        with pytest.raises(KeyboardInterrupt):
            mix(base)
    (folder,) = base.glob("out/2speakers/.decoded*")
    sorted(folder.iterdir())[0].unlink()
    (folder / ".half.wav").write_bytes(b"RIFF")
    out = mix(base)
    assert len(decoded) == len(STEMS) + 1
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
    with pytest.raises(UserError, match=f"{file} is silent"):
        mix(base)
    assert not list(base.glob("out/*/*/*/*/mix"))


def test_space_for_it(base, monkeypatch):
    """Two bytes a sample, in blocks, besides the mixtures."""
    lengths = [len(wsj0_tree.speech_of(stem)) for stem in STEMS]
    for text in LISTS.values():
        lengths += 3 * list(map(shortest, text.splitlines()))
    needed = sum(4096 * -(-(2 * n + 44) // 4096) for n in lengths)
    usage = shutil.disk_usage(base)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    usage = usage._replace(free=needed - 1)
    with pytest.raises(UserError, match=" MB more"):
        mix(base)
    usage = usage._replace(free=needed)
    mix(base)


def shortest(line):
    """Samples of a mixture at 8 kHz."""
    stems = wsj0_tree.utterances([line])
    return min(len(wsj0_tree.at_8k(wsj0_tree.speech_of(s))) for s in stems)
