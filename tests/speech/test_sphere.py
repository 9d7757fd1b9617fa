"""Speech is read to the bit from SPHERE files, or the error names the file."""

import shutil
import subprocess
import sys
import types

import numpy as np
import pytest
import soundfile
from shorten import HEADER, write_shortened, write_sphere

from dpcl_dprnn.common.errors import UserError
from dpcl_dprnn.speech.sphere import (
    find_decoder,
    is_sphere,
    read_speech,
    speech_info,
)

WRITERS = {"plain": write_sphere, "shorten": write_shortened}
DECODERS = ("sph2pipe", "ffmpeg", "imageio-ffmpeg")


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


@pytest.fixture(params=DECODERS)
def decoder(request, tmp_path, monkeypatch):
    """One decoder and no other."""
    programs = tmp_path / "programs"
    programs.mkdir()
    if request.param == "imageio-ffmpeg":
        pytest.importorskip("imageio_ffmpeg")
        monkeypatch.setenv("PATH", str(programs))
    else:
        program = shutil.which(request.param)
        if program is None:
            pytest.skip(f"{request.param} is not installed")
        (programs / request.param).symlink_to(program)
        monkeypatch.setenv("PATH", str(programs))
        monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert find_decoder() is not None
    return request.param


@pytest.fixture
def any_decoder():
    if find_decoder() is None:
        pytest.skip("no decoder of shorten: pip install imageio-ffmpeg")


@pytest.fixture
def no_decoder(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)


def fake_sph2pipe(folder, script, monkeypatch):
    """Put a shell script in the place of all decoders."""
    folder.mkdir()
    (folder / "sph2pipe").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "sph2pipe").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


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
def test_compressed(tmp_path, decoder, byte_order, count):
    """The programs that researchers have agree with our compressed files."""
    samples = signal()[-count:]
    path = tmp_path / "a.wv1"
    write_shortened(path, samples, 11025, byte_order)
    assert count < 1000 or path.stat().st_size < HEADER + 2 * count
    check_exact(path, samples, 11025)


def test_compressed_info_needs_no_decoder(tmp_path, no_decoder):
    path = tmp_path / "a.wv1"
    write_shortened(path, signal())
    info = speech_info(path)
    assert info == (16000, 1, 4000, "NIST", "SHORTEN")


@pytest.mark.parametrize("coding", ["pcm,embedded-shorten-v1.09", "pcm"])
def test_compression_shows_in_the_data(tmp_path, decoder, coding):
    """Old discs name another version; the header may not say it at all."""
    if coding == "pcm" and decoder != "sph2pipe":
        pytest.skip("ffmpeg goes by the header")
    path = tmp_path / "a.wv1"
    write_shortened(path, signal(), sample_coding=coding)
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
    with pytest.raises(UserError, match=r"Cannot read .*b\.wv1: No such file"):
        is_sphere(tmp_path / "b.wv1")


@pytest.mark.parametrize("kept", [HEADER + 8000 - 1, HEADER + 1, HEADER])
def test_truncated_plain(tmp_path, kept):
    path = tmp_path / "a.wv1"
    write_sphere(path, signal())
    cut(path, kept)
    for read in (read_speech, speech_info):
        with pytest.raises(UserError, match=r"a\.wv1 is truncated"):
            read(path)


def test_what_follows_plain_samples_is_none(tmp_path):
    path = tmp_path / "a.wv1"
    write_sphere(path, signal())
    with open(path, "ab") as file:
        file.write(b"\1" * 100)
    check_exact(path, signal())
    assert speech_info(path).frames == 4000


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_truncated_compressed(tmp_path, decoder, share):
    path = tmp_path / "a.wv1"
    write_shortened(path, signal())
    data = path.stat().st_size - HEADER
    cut(path, HEADER + int(share * data))
    with pytest.raises(UserError, match=r"a\.wv1") as caught:
        read_speech(path)
    assert "Copy the file again" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [HEADER, HEADER + 3])
def test_compressed_without_data(tmp_path, no_decoder, kept):
    path = tmp_path / "a.wv1"
    write_shortened(path, signal())
    cut(path, kept)
    with pytest.raises(UserError, match=r"a\.wv1 is truncated"):
        read_speech(path)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("   1024", "   big!", "does not begin like one"),
        ("   1024", "      9", "has a size of 9 bytes"),
        ("   1024", "9999999", "has a size of 9999999 bytes"),
        ("   1024", "     64", "has no end_head"),
        ("end_head", "end_hea_", "has the line 'end_hea_'"),
        ("\nend_head", "", "has no end_head"),
        ("sample_rate -i 16000", "sample_rate -i fast", "'sample_rate -i fast"),
        ("sample_rate -i 16000", "sample_rate -i 0", "has sample_rate 0"),
        ("sample_rate -i 16000", "sample_rate -s2 no", "has sample_rate no"),
        ("sample_count", "simple_count", "has no sample_count"),
        ("channel_count -i", "channel_count", "the line 'channel_count 1'"),
    ],
)
def test_broken_header(tmp_path, old, new, message):
    path = tmp_path / "a.wv1"
    write_sphere(path, signal())
    content = path.read_bytes()
    header = content[:HEADER].decode().replace(old, new, 1)
    path.write_bytes(header[:HEADER].ljust(HEADER).encode() + content[HEADER:])
    with pytest.raises(UserError, match=message) as caught:
        read_speech(path)
    assert "a.wv1" in str(caught.value) and "\n" not in str(caught.value)


def test_header_cut_short(tmp_path):
    path = tmp_path / "a.wv1"
    write_sphere(path, signal())
    for kept, message in ((600, "is truncated"), (9, "does not begin")):
        cut(path, kept)
        with pytest.raises(UserError, match=message):
            speech_info(path)


def test_unreadable(tmp_path):
    (tmp_path / "a.wv1").write_text("hello")
    with pytest.raises(UserError, match=r"Cannot read .*a\.wv1 as sound"):
        read_speech(tmp_path / "a.wv1")
    with pytest.raises(UserError, match=r"Cannot read .*b\.wv1: No such file"):
        read_speech(tmp_path / "b.wv1")
    write_sphere(tmp_path / "c", signal(), sample_coding="pcm,shortpack-v0")
    with pytest.raises(UserError, match=r"Cannot read .*c as sound"):
        read_speech(tmp_path / "c")


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_stereo_is_refused(tmp_path, write, no_decoder):
    path = tmp_path / "a.wv1"
    write(path, np.stack([signal(), signal()], axis=1))
    assert speech_info(path).channels == 2
    with pytest.raises(UserError, match=r"a\.wv1 has 2 channels"):
        read_speech(path)


def test_stereo_is_compressed_well(tmp_path, decoder):
    """The helper of the tests, against the decoder itself."""
    path, wav = tmp_path / "a.wv1", tmp_path / "a.wav"
    samples = np.stack([signal(), signal()[::-1]], axis=1)
    write_shortened(path, samples)
    program, *words = (word.replace("{}", str(path)) for word in find_decoder())
    with open(wav, "wb") as file:
        subprocess.run([program, *words], stdout=file, check=True)
    np.testing.assert_array_equal(
        soundfile.read(wav, dtype="int16")[0], samples
    )


def test_missing_decoder(tmp_path, no_decoder):
    assert find_decoder() is None
    path = tmp_path / "a.wv1"
    write_shortened(path, signal())
    with pytest.raises(UserError, match="pip install imageio-ffmpeg") as caught:
        read_speech(path)
    assert str(path) in str(caught.value) and "sph2pipe" in str(caught.value)


@pytest.mark.parametrize(
    "script, message",
    [
        ("echo bad luck >&2; echo more >&2; exit 1", "bad luck"),
        ("exit 3", "exit status 3"),
        ("echo no sound", "Format not recognised. Copy"),
        # What sph2pipe does with some truncated files.
        ("echo premature EOF >&2; while :; do :; done", "premature EOF"),
        ("echo premature EOF >&2; exit 0", "premature EOF"),
    ],
)
def test_failing_decoder(tmp_path, monkeypatch, script, message):
    fake_sph2pipe(tmp_path / "programs", script, monkeypatch)
    path = tmp_path / "a.wv1"
    write_shortened(path, signal())
    with pytest.raises(UserError, match=message) as caught:
        read_speech(path)
    text = str(caught.value)
    assert text.startswith(f"sph2pipe cannot decode {path}: ")
    assert "\n" not in text and "more" not in text


def decoded_file(folder, count):
    """What a fake decoder may write, and the file that it is asked for."""
    soundfile.write(folder / "decoded.wav", signal(count), 16000)
    write_shortened(folder / "a.wv1", signal())
    return folder / "a.wv1"


def test_no_more_samples_than_the_header_says(tmp_path, monkeypatch):
    path = decoded_file(tmp_path, 4100)
    script = f"cat {tmp_path}/decoded.wav"
    fake_sph2pipe(tmp_path / "programs", f"/bin/{script}", monkeypatch)
    check_exact(path, signal(4100)[:4000])


def test_early_end_is_an_error_after_all(tmp_path, monkeypatch):
    """The decoder has written enough and left with status 0."""
    path = decoded_file(tmp_path, 4000)
    # The complaint comes when there is nobody to be killed any more.
    late = "(/bin/sleep 0.3; echo premature EOF >&2) >/dev/null &"
    script = f"{late}\nexec /bin/cat {tmp_path}/decoded.wav"
    fake_sph2pipe(tmp_path / "programs", script, monkeypatch)
    with pytest.raises(UserError, match="cannot decode .*: premature EOF"):
        read_speech(path)


def test_decoder_that_cannot_start(tmp_path, monkeypatch):
    fake_sph2pipe(tmp_path / "programs", "", monkeypatch)
    program = tmp_path / "programs" / "sph2pipe"
    program.write_text("#!/no/such/shell\n")
    path = tmp_path / "a.wv1"
    write_shortened(path, signal())
    with pytest.raises(UserError, match="sph2pipe cannot decode .*No such"):
        read_speech(path)


def test_chatty_decoder_is_trusted(tmp_path, monkeypatch, any_decoder):
    """Linkers may warn on the way; what counts is what comes out."""
    program, *words = find_decoder()
    path = tmp_path / "a.wv1"
    write_shortened(path, signal())
    command = " ".join(f'"{word}"' for word in (program, *words)).replace(
        "{}", str(path)
    )
    script = f"echo no version information available >&2\n{command}"
    fake_sph2pipe(tmp_path / "programs", script, monkeypatch)
    check_exact(path, signal())


def test_first_decoder_wins(tmp_path, monkeypatch):
    fake_sph2pipe(tmp_path / "programs", "exit 1", monkeypatch)
    shutil.copy(
        tmp_path / "programs" / "sph2pipe", tmp_path / "programs" / "ffmpeg"
    )
    assert find_decoder()[0].endswith("sph2pipe")
    (tmp_path / "programs" / "sph2pipe").unlink()
    package = types.SimpleNamespace(get_ffmpeg_exe=lambda: "/its/ffmpeg")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", package)
    assert find_decoder()[0] == "/its/ffmpeg"
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)  # not installed
    assert find_decoder()[0].endswith("programs/ffmpeg")
