"""Sound files as phones, call systems and crashed recorders leave them."""

import re
import struct
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from refusals import refused
from sounds import RATE, convert, noise

from dpcl_dprnn.sound import opening
from dpcl_dprnn.sound.audio import audio_info, read_audio
from dpcl_dprnn.sound.ffmpeg import DecodedSound, find_decoder
from dpcl_dprnn.sound.opening import opened


@pytest.fixture
def plain(tmp_path):
    """A WAV file of two seconds, PCM of 16 bits."""
    path = tmp_path / "plain.wav"
    soundfile.write(path, noise(2 * RATE), RATE)
    return path


def sized(path, data=None, riff=None, tail=b"", form=None):
    """Change what a WAV file's header says, and what follows the samples."""
    content = bytearray(path.read_bytes())
    place = content.index(b"data")
    if data is not None:
        content[place + 4 : place + 8] = struct.pack("<I", data)
    if riff is not None:
        content[4:8] = struct.pack("<I", riff)
    path.write_bytes(bytes(content) + tail)


def whole(path, strict=False):
    """All samples of a file, and what is wrong with it."""
    with opened(path, strict) as file:
        return file.read(file.frames), file.complaint


# What a recorder wrote that crashed, a counter of 32 bits that ran over, a
# program that counts the header
WRONG = {
    "nothing": {"data": 0, "riff": 0},
    "nothing but the header": {"data": 0, "riff": 36},
    "a quarter": {"data": 8000, "riff": 8036},
    "the header, too": {"data": 32044, "riff": 32080},
    "two bytes more": {"data": 32002},
    "much more": {"data": 99999},
}


@pytest.mark.parametrize("fault", WRONG)
def test_wav_with_a_wrong_length(plain, fault):
    samples, _ = soundfile.read(plain, dtype="float32")
    sized(plain, **WRONG[fault])
    read, complaint = whole(plain)
    assert np.array_equal(read, samples)
    said = WRONG[fault]["data"]
    assert complaint == f"it says {said} bytes of sound, and there are 32000"
    for reader in (read_audio, audio_info):
        with refused("plain.wav is truncated, or its header is wrong"):
            reader(plain)


def test_rf64_of_a_recorder_that_crashed(tmp_path):
    path = tmp_path / "long.wav"
    soundfile.write(path, noise(2 * RATE), RATE, "PCM_16", format="RF64")
    samples, _ = soundfile.read(path, dtype="float32")
    content = bytearray(path.read_bytes())
    place = content.index(b"ds64") + 16
    content[place : place + 8] = bytes(8)
    path.write_bytes(content)
    read, complaint = whole(path)
    assert np.array_equal(read, samples)
    assert complaint == "it says 0 bytes of sound, and there are 32000"


def test_a_wav_file_beyond_the_counter(plain, tmp_path, monkeypatch):
    """Of 6 GB, whose length of 32 bits ran over; sparse on the disk. ffmpeg
    reads such, as it does a small one where the counter is taken to be smaller.
    """
    length = 3 * 2**31
    path = tmp_path / "long.wav"
    content = bytearray(plain.read_bytes()[:44])
    content[40:44] = struct.pack("<I", length % 2**32)
    with open(path, "wb") as file:
        file.write(content)
        file.truncate(44 + length)
    with refused(f"its header is wrong.* there are {length}"):
        audio_info(path)
    monkeypatch.setattr(opening, "COUNTER", 1000)
    samples, _ = soundfile.read(plain, dtype="float32")
    sized(plain, data=8000)
    with opened(plain, strict=False) as file:
        assert isinstance(file, DecodedSound)
        assert np.array_equal(file.read(file.frames), samples)
        assert file.complaint.endswith("and there are 32000")


@pytest.mark.parametrize("subtype", ["NMS_ADPCM_16", "G721_32", "GSM610"])
def test_codecs_of_a_recorder_that_crashed(tmp_path, subtype):
    path = tmp_path / "call.wav"
    soundfile.write(path, noise(2 * RATE), RATE, subtype)
    samples, _ = whole(path)
    content = bytearray(path.read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = bytes(4)
    path.write_bytes(content)
    read, complaint = whole(path)
    assert complaint and len(read) >= len(samples)
    assert np.array_equal(read[: len(samples)], samples)


@pytest.mark.parametrize("length", [0, 8000, 99999])
def test_big_endian_wav_with_a_wrong_length(tmp_path, length):
    path = tmp_path / "old.wav"
    soundfile.write(path, noise(2 * RATE), RATE, "PCM_16", endian="BIG")
    content = bytearray(path.read_bytes())
    assert content.startswith(b"RIFX")
    samples, _ = whole(path)
    place = content.index(b"data") + 4
    content[place : place + 4] = struct.pack(">I", length)
    path.write_bytes(content)
    read, complaint = whole(path)
    assert np.array_equal(read, samples) and complaint


def test_a_recorder_that_counts_seldom(plain):
    """Its header lags behind by 5 %."""
    sized(plain, data=30400)
    samples, complaint = whole(plain)
    assert len(samples) == 2 * RATE and complaint


def test_zeros_instead_of_a_header(tmp_path):
    path = tmp_path / "zeros.wav"
    with open(path, "wb") as file:
        file.write(b"RIFF\0\0\0\0WAVE")
        file.truncate(400_000_000)
    with refused("as sound"):
        whole(path)


def test_a_cut_sphere_file(tmp_path):
    path = tmp_path / "a.sph"
    soundfile.write(path, noise(2 * RATE), RATE, "PCM_16", format="NIST")
    path.write_bytes(path.read_bytes()[:20000])
    _, complaint = whole(path)
    assert complaint.startswith("it says 16000 samples")


def test_flac_that_was_written_to_a_pipe(plain, tmp_path):
    samples, _ = soundfile.read(plain, dtype="float32")
    path = tmp_path / "piped.flac"
    command = [find_decoder(), "-v", "error", "-i", plain, "-f", "flac", "-"]
    with open(path, "wb") as file:
        subprocess.run(command, stdout=subprocess.PIPE, check=True)
        piped = subprocess.run(command, stdout=subprocess.PIPE).stdout
        file.write(piped)
    read, complaint = whole(path)
    assert np.array_equal(read, samples) and not complaint


def test_a_suffix_that_says_nothing(tmp_path):
    (tmp_path / "a.raw").write_bytes(bytes(1000))
    with refused("a.raw as sound"):
        whole(tmp_path / "a.raw")


LIST = b"LIST" + struct.pack("<I", 12) + b"INFOISFT\0\0\0\0"


@pytest.mark.parametrize(
    "change",
    [
        {"tail": LIST},
        {"tail": b"TAG" + bytes(125)},  # of a player
        {"tail": b"LIST" + struct.pack("<I", 2000) + bytes(2000)},
        {"data": 0xFFFFFFFF, "riff": 0xFFFFFFFF},  # written to a pipe
        {"data": 0x7FFFF000},  # by sox
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_wav_with_nothing_wrong(plain, change, strict):
    samples, _ = soundfile.read(plain, dtype="float32")
    sized(plain, **change)
    read, complaint = whole(plain, strict)
    assert np.array_equal(read, samples) and not complaint


def test_wav_without_samples(plain):
    soundfile.write(plain, np.zeros(0), RATE)
    assert audio_info(plain).frames == 0


@pytest.mark.parametrize("format", ["AIFF", "AU", "W64"])
def test_other_files_that_are_cut(tmp_path, format):
    path = tmp_path / f"cut.{format.lower()}"
    soundfile.write(path, noise(2 * RATE), RATE, "PCM_16", format=format)
    path.write_bytes(path.read_bytes()[:20000])
    read, complaint = whole(path)
    assert 9900 < len(read) < 10000 and "bytes, and there are" in complaint
    with refused("is truncated, or its header is wrong"):
        read_audio(path)


@pytest.mark.parametrize(
    "format, subtype",
    [
        *(("WAV", "GSM610"), ("WAV", "G721_32"), ("WAV", "NMS_ADPCM_24")),
        *(("AU", "G723_24"), ("AU", "G721_32"), ("AIFF", "GSM610")),
        ("W64", "GSM610"),
    ],
)
def test_codecs_that_cannot_be_sought_in(tmp_path, format, subtype):
    path = tmp_path / "call.wav"
    soundfile.write(path, noise(2 * RATE), RATE, subtype, format=format)
    with soundfile.SoundFile(path) as file:
        assert not file.seekable()
        samples = file.read(file.frames, "float32")
    assert np.array_equal(read_audio(path)[0], samples)
    part, _ = read_audio(path, start=5000, frames=700)
    assert np.array_equal(part, samples[5000:5700])
    with opened(path) as file:
        for start in (9000, 100, 100, 4000):
            file.seek(start)
            assert np.array_equal(file.read(50), samples[start : start + 50])


PHONES = {
    **{".m4a": (), ".mp4": (), ".aac": (), ".wma": (), ".mkv": (), ".mov": ()},
    ".amr": ("-c:a", "libopencore_amrnb", "-ar", "8000"),
    ".3gp": ("-c:a", "libopencore_amrnb", "-ar", "8000"),
    ".webm": ("-c:a", "libopus"),
    ".caf": ("-c:a", "alac"),
}


@pytest.mark.parametrize("suffix", PHONES)
def test_what_phones_and_meetings_record(plain, tmp_path, suffix):
    time = np.arange(2 * RATE) / RATE
    tones = 0.2 * np.sin(2 * np.pi * 300 * time) * np.sin(3 * time)
    soundfile.write(plain, tones, RATE)
    path = convert(plain, tmp_path / f"memo{suffix}", *PHONES[suffix])
    with opened(path) as file:
        rate, frames = file.samplerate, file.frames
        samples = file.read(frames)
        file.seek(1000)
        assert np.array_equal(file.read(500), samples[1000:1500])
        assert file.channels == 1 and not file.complaint
    # Codecs have blocks, and delay by one or two
    assert abs(frames / rate - 2) < 0.26
    step = rate // RATE
    fits = np.correlate(np.pad(samples[::step], (600, 600)), tones)
    energy = np.linalg.norm(samples[::step]) * np.linalg.norm(tones)
    assert fits.max() > 0.98 * energy


def test_far_away_in_a_recording_of_a_phone(plain, tmp_path):
    """What is before is not decoded; of most kinds the place is exact."""
    samples = noise(30 * RATE)
    soundfile.write(plain, samples, RATE)
    path = convert(plain, tmp_path / "memo.mka", "-c:a", "flac")
    whole, _ = read_audio(path)
    with opened(path) as file:
        for start in (200000, 16000, 0):
            file.seek_near(start)
            assert np.array_equal(file.read(700), whole[start : start + 700])
            assert file.position == start + 700


def test_several_channels_by_ffmpeg(tmp_path):
    path = tmp_path / "two.wav"
    soundfile.write(path, noise(4000, 2), RATE, "PCM_16")
    samples, _ = soundfile.read(path, dtype="float32")
    path = convert(path, tmp_path / "two.mka", "-c:a", "flac")
    assert np.array_equal(whole(path)[0], samples)
    assert np.array_equal(read_audio(path, channel=1)[0], samples[:, 1])


def test_a_damaged_recording_of_a_phone(plain, tmp_path):
    path = convert(plain, tmp_path / "a.m4a", "-movflags", "+faststart")
    frames = audio_info(path).frames
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    # Reading and decoding go on side by side: either may complain first.
    complaint = "partial file|Input buffer exhausted"
    with opened(path, strict=False) as file:
        assert 0 < file.frames < frames
        assert re.search(complaint, file.complaint)
    with refused(f"a.m4a is .*({complaint})"):
        read_audio(path)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.m4a", b"", "ffmpeg cannot decode"),
        ("a.m4a", b"no sound", "ffmpeg cannot decode"),
        ("a.wav", b"no sound", "Cannot read .* as sound.*not recognised"),
        # Lists of other files, here or elsewhere, are not followed.
        ("a.m4a", b"#EXTM3U\n#EXTINF:1,\nplain.wav\n", "cannot decode"),
        ("a.m4a", b"ffconcat version 1.0\nfile plain.wav\n", "not on white"),
    ],
)
def test_what_is_no_sound(plain, tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with refused(f"(?i){message}", str(path)):
        whole(path)


def test_missing_file(tmp_path):
    with refused("gone.wav does not exist"):
        whole(tmp_path / "gone.wav")


def test_no_ffmpeg(plain, tmp_path, monkeypatch):
    path = convert(plain, tmp_path / "a.m4a")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with refused("a.m4a takes ffmpeg .*pip install imageio-ffmpeg"):
        whole(path)
