"""Speech is read to the bit from SPHERE files, or the error names the file."""

import subprocess
import sys
import types

import numpy as np
import pytest
import soundfile
from refusals import refused
from shorten import HEADER, write_shortened, write_sphere

from dpcl_dprnn.sound.ffmpeg import find_decoder
from dpcl_dprnn.sound.sphere import is_sphere, read_speech, speech_info

WRITERS = {"plain": write_sphere, "shorten": write_shortened}


def signal(count=4000):
    """All that is hard to compress: noise, silence, steps, full scale."""
    rng = np.random.default_rng(count)
    samples = 3000 * np.sin(0.05 * np.arange(count)) ** 3
    samples += rng.standard_normal(count)
    samples[500:1200] = 0
    samples[1300:1400] = 20000 * rng.choice([-1, 1], 100)
    samples[1500] = 32767
    samples[1501:1503] = -32768
    return np.round(samples).astype(np.int16)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.wv1"


@pytest.fixture
def decoder():
    if find_decoder() is None:
        pytest.skip("no decoder of shorten: pip install imageio-ffmpeg")


@pytest.fixture
def no_decoder(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)


@pytest.fixture
def fake_ffmpeg(no_decoder, tmp_path):
    """Put a shell script in the place of all decoders."""

    def write(script, shell="/bin/sh"):
        (tmp_path / "ffmpeg").write_text(f"#!{shell}\n{script}\n")
        (tmp_path / "ffmpeg").chmod(0o755)

    return write


def cut(path, length):
    with open(path, "r+b") as file:
        file.truncate(length)


def check_exact(path, samples, rate=16000):
    read, read_rate = read_speech(path)
    assert read.dtype == np.float32 and read_rate == rate
    np.testing.assert_array_equal(read * 32768, samples)


@pytest.mark.parametrize("byte_order", ["01", "10"])
@pytest.mark.parametrize("suffix", [".wv1", ".WV1", ".wav", ".sph"])
def test_plain(tmp_path, byte_order, suffix, no_decoder):
    path = tmp_path / f"a{suffix}"
    write_sphere(path, signal(), 16000, byte_order)
    check_exact(path, signal())
    assert speech_info(path)[:3] == (16000, 1, 4000)


@pytest.mark.parametrize("byte_order", ["01", "10"])
@pytest.mark.parametrize("count", [1, 256, 3000, 4000])
def test_compressed(path, decoder, byte_order, count):
    """The decoder agrees with our compressed files."""
    samples = signal()[-count:]
    write_shortened(path, samples, 11025, byte_order)
    assert count < 1000 or path.stat().st_size < HEADER + 2 * count
    check_exact(path, samples, 11025)


def test_compressed_info_needs_no_decoder(path, no_decoder):
    write_shortened(path, signal())
    info = speech_info(path)
    assert info == (16000, 1, 4000, "NIST", "SHORTEN")


def test_older_compression(path, decoder):
    """Old discs name another version."""
    write_shortened(path, signal(), sample_coding="pcm,embedded-shorten-v1.09")
    check_exact(path, signal())


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_other_formats(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, signal(), 8000)
    check_exact(path, signal(), 8000)
    assert speech_info(path)[:3] == (8000, 1, 4000)


NAMES = ["a b.wv1", "naïve-音.wv1", "-f.wv1", "a:b{}%d'.wv1", "a.b/-v/c.wv1"]


@pytest.mark.parametrize("name", NAMES)
def test_names(tmp_path, monkeypatch, decoder, name):
    monkeypatch.chdir(tmp_path)
    write_shortened(tmp_path / name, signal())
    check_exact(name, signal())
    check_exact(tmp_path / name, signal())


def test_header_by_hand(tmp_path):
    """Another size, a real number, a comment, blanks, an empty string."""
    text = (
        "NIST_1A\n   2048\n; sample_rate -i 1\n\nfirst -r -2.5e3\n"
        "second -s0 \nsample_rate\t-i 11025 \nchannel_count -i 1\n"
        "sample_count -i 77\nend_head\nsample_count -i 1\n"
    )
    path = tmp_path / "a.sph"
    path.write_bytes(text.encode().ljust(2048) + b"ajkg")
    assert speech_info(path) == (11025, 1, 77, "NIST", "SHORTEN")


def test_sphere_shows_in_the_first_bytes(tmp_path):
    for name in ("a.wav", "a.wv1"):
        write_shortened(tmp_path / name, signal())
        assert is_sphere(tmp_path / name)
        soundfile.write(tmp_path / name, signal(), 8000, format="WAV")
        assert not is_sphere(tmp_path / name)
    with refused(r"Cannot read .*b\.wv1: No such file"):
        is_sphere(tmp_path / "b.wv1")


@pytest.mark.parametrize("kept", [HEADER + 8000 - 1, HEADER + 1, HEADER])
def test_truncated_plain(path, kept):
    write_sphere(path, signal())
    cut(path, kept)
    for read in (read_speech, speech_info):
        with refused(r"a\.wv1 is truncated"):
            read(path)


def test_what_follows_plain_samples_is_none(path):
    write_sphere(path, signal())
    with open(path, "ab") as file:
        file.write(b"\1" * 100)
    check_exact(path, signal())
    assert speech_info(path).frames == 4000


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_truncated_compressed(path, decoder, share):
    write_shortened(path, signal())
    data = path.stat().st_size - HEADER
    cut(path, HEADER + int(share * data))
    with refused(r"a\.wv1") as caught:
        read_speech(path)
    assert "Copy the file again" in str(caught.value)


@pytest.mark.parametrize("kept", [HEADER, HEADER + 3])
def test_compressed_without_data(path, no_decoder, kept):
    write_shortened(path, signal())
    cut(path, kept)
    with refused(r"a\.wv1 is truncated"):
        read_speech(path)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("   1024", "   big!", "does not say how long it is"),
        ("   1024", "      9", "does not say how long it is"),
        ("   1024", "9999999", "is truncated"),
        ("   1024", "     64", "is truncated: it has no end_head"),
        ("end_head", "end_hea_", "is truncated: it has no end_head"),
        ("sample_rate -i 16000", "sample_rate -i fast", "has no sample_rate"),
        ("sample_rate -i 16000", "sample_rate -i 0", "no sample_rate above 0"),
        ("sample_rate -i 16000", "sample_rate -s2 no", "has no sample_rate"),
        ("sample_count", "simple_count", "has no sample_count"),
        ("channel_count -i", "channel_count", "has no channel_count"),
    ],
)
def test_broken_header(path, old, new, message):
    write_sphere(path, signal())
    content = path.read_bytes()
    header = content[:HEADER].decode().replace(old, new, 1)
    path.write_bytes(header[:HEADER].ljust(HEADER).encode() + content[HEADER:])
    with refused(message) as caught:
        read_speech(path)
    assert "a.wv1" in str(caught.value)


def test_header_cut_short(path):
    write_sphere(path, signal())
    for kept, message in (
        (600, "is truncated"),
        (300, "is truncated"),
        (9, "does not say"),
    ):
        cut(path, kept)
        with refused(message):
            speech_info(path)


def test_unreadable(tmp_path):
    (tmp_path / "a.wv1").write_text("hello")
    with refused(r"Cannot read .*a\.wv1 as sound"):
        read_speech(tmp_path / "a.wv1")
    with refused(r"Cannot read .*b\.wv1: No such file"):
        read_speech(tmp_path / "b.wv1")
    write_sphere(tmp_path / "c", signal(), sample_coding="pcm,shortpack-v0")
    with refused(r"Cannot read .*c as sound"):
        read_speech(tmp_path / "c")


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_stereo_is_refused(path, write, no_decoder):
    write(path, np.stack([signal(), signal()], axis=1))
    assert speech_info(path).channels == 2
    with refused(r"a\.wv1 has 2 channels"):
        read_speech(path)


def test_stereo_is_compressed_well(tmp_path, decoder):
    """The helper of the tests, against the decoder itself."""
    path, wav = tmp_path / "a.wv1", tmp_path / "a.wav"
    samples = np.stack([signal(), signal()[::-1]], axis=1)
    write_shortened(path, samples)
    subprocess.run([find_decoder(), "-i", path, wav], check=True)
    np.testing.assert_array_equal(
        soundfile.read(wav, dtype="int16")[0], samples
    )


def test_missing_decoder(tmp_path, no_decoder):
    assert find_decoder() is None
    path = tmp_path / "a.wv1"
    write_shortened(path, signal())
    with refused("pip install imageio-ffmpeg") as caught:
        read_speech(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "script, message",
    [
        ("echo bad luck >&2; echo more >&2; exit 1", "bad luck"),
        ("exit 3", "exit status 3"),
    ],
)
def test_failing_decoder(tmp_path, fake_ffmpeg, script, message):
    fake_ffmpeg(script)
    path = tmp_path / "a.wv1"
    write_shortened(path, signal())
    with refused(message) as caught:
        read_speech(path)
    text = str(caught.value)
    assert text.startswith(f"ffmpeg cannot decode {path}: ")
    assert "\n" not in text and "more" not in text


def test_no_more_samples_than_the_header_says(tmp_path, fake_ffmpeg):
    """And warnings, as of linkers, do not matter."""
    write_shortened(tmp_path / "a.wv1", signal())
    soundfile.write(
        tmp_path / "decoded", signal(4100) / 32768, 16000, "FLOAT", format="AU"
    )
    fake_ffmpeg(f"echo no version >&2; /bin/cat '{tmp_path}/decoded'")
    check_exact(tmp_path / "a.wv1", signal(4100)[:4000])


def test_decoder_that_cannot_start(tmp_path, fake_ffmpeg):
    fake_ffmpeg("", shell="/no/such/shell")
    path = tmp_path / "a.wv1"
    write_shortened(path, signal())
    with refused("ffmpeg cannot decode .*No such"):
        read_speech(path)


def test_the_decoder_of_the_package_comes_first(fake_ffmpeg, monkeypatch):
    fake_ffmpeg("")
    assert find_decoder().endswith("/ffmpeg")
    package = types.SimpleNamespace(get_ffmpeg_exe=lambda: "/its/own")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", package)
    assert find_decoder() == "/its/own"
