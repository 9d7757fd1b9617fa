"""Speech is decoded once, to the bit, and read in any pieces."""

import os
import pickle

import numpy as np
import pytest
import soundfile
from refusals import refused
from shorten import write_speech

from dpcl_dprnn.sound.audio import resample
from dpcl_dprnn.sound.rumble import without_rumble
from dpcl_dprnn.speech import store as speech_store
from dpcl_dprnn.speech.levels import active_level
from dpcl_dprnn.speech.store import JoinedStores, SpeechStore, open_store

RATE = 8000
NAMES = ["ann/1.wav", "ann/2.flac", "bob/a b ü.wv1", "bob/16k.wav"]
LOUDEST = np.float32(32767 / 32768)


def burst(seed, length):
    samples = np.random.default_rng(seed).integers(-9000, 9000, length)
    samples[: length // 4] = 0
    return samples.astype(np.int16)


@pytest.fixture
def originals():
    return [burst(n, 5000 + 700 * n) for n in range(len(NAMES))]


@pytest.fixture
def speech(tmp_path, originals):
    folder = tmp_path / "speech"
    for name, samples in zip(NAMES, originals, strict=True):
        write_speech(folder / name, samples, 16000 if "16k" in name else RATE)
    return folder


def open_here(speech, names=NAMES, **options):
    options = {"rate": RATE, "jobs": 1, **options}
    return open_store(speech, names, folder=speech.parent / "store", **options)


@pytest.fixture
def store(speech):
    return open_here(speech)


def files(speech):
    return sorted((speech.parent / "store").iterdir())


@pytest.fixture
def no_decoding(monkeypatch):
    """From when it is called, no file is decoded."""

    def forbid():
        def fail(*args, **options):
            raise AssertionError("decoded again")

        monkeypatch.setattr(speech_store, "parallel_map", fail)

    return forbid


def expected(name, samples):
    """The utterance at full scale in 16 bits, by another way."""
    samples = samples / 32768
    if "16k" in name:
        samples = resample(samples, 16000, RATE)
    samples = without_rumble(samples, RATE)
    full = samples * (32767 / np.abs(samples).max())
    return np.floor(full + 0.5).astype(np.int64)


def test_utterances_at_full_scale(store, originals):
    assert len(store) == 4 and store.rate == RATE and store.names == NAMES
    for index, (name, samples) in enumerate(zip(NAMES, originals, strict=True)):
        read = store.read(index)
        assert read.dtype == np.float32 and np.abs(read).max() == LOUDEST
        wanted = expected(name, samples)
        assert len(read) == len(wanted) == store.lengths[index]
        # Halves may go either way.
        assert np.abs(read.astype(float) * 32768 - wanted).max() <= 1
        assert np.mean(read.astype(float) * 32768 == wanted) > 0.99


def test_loudness_does_not_matter(speech, originals):
    """A quiet recording is stored with as many bits as a loud one."""
    quiet = originals[0] / 32768 * 0.001
    soundfile.write(speech / "ann/1.wav", quiet, RATE, subtype="FLOAT")
    read = open_here(speech).read(0).astype(float) * 32768
    assert np.abs(read - expected(NAMES[0], originals[0])).max() <= 1


def test_levels_are_active_levels(store):
    for index, level in enumerate(store.levels):
        assert level == active_level(store.read(index), RATE)


def test_pieces_are_slices_of_the_whole(store):
    for index in range(len(NAMES)):
        whole = store.read(index)
        for start, length in ((0, 1), (7, 100), (3000, None), (1999, 1000)):
            end = None if length is None else start + length
            piece = store.read(index, start, length)
            np.testing.assert_array_equal(piece, whole[start:end])
        # It ends with the utterance, not in the next one.
        past = store.read(index, len(whole) - 10, 50)
        np.testing.assert_array_equal(past, whole[-10:])
        assert len(store.read(index, len(whole), 50)) == 0


def test_joined_stores_are_their_utterances_in_order(speech):
    parts = [open_here(speech, NAMES[:1]), open_here(speech, NAMES[1:])]
    whole, joined = open_here(speech), JoinedStores(parts)
    assert joined.names == whole.names and len(joined) == len(whole)
    assert joined.rate == whole.rate
    np.testing.assert_array_equal(joined.lengths, whole.lengths)
    np.testing.assert_array_equal(joined.levels, whole.levels)
    for index in range(len(whole)):
        for piece in ((), (100,), (100, 50)):
            np.testing.assert_array_equal(
                joined.read(index, *piece), whole.read(index, *piece)
            )


def test_pieces_may_be_written_to(store, speech):
    before = store.read(1)
    store.read(1)[:] = 0
    np.testing.assert_array_equal(store.read(1), before)
    np.testing.assert_array_equal(open_here(speech).read(1), before)


def test_made_once(speech, no_decoding):
    first = open_here(speech)
    made = {path: path.stat().st_mtime_ns for path in files(speech)}
    assert len(made) == 2
    no_decoding()
    again = open_here(speech)
    assert {p: p.stat().st_mtime_ns for p in files(speech)} == made
    for index in range(len(NAMES)):
        np.testing.assert_array_equal(again.read(index), first.read(index))
    np.testing.assert_array_equal(again.levels, first.levels)


def touch(speech):
    stat = (speech / NAMES[0]).stat()
    os.utime(speech / NAMES[0], ns=(0, stat.st_mtime_ns + 1))


def lengthen(speech):
    path = speech / NAMES[0]
    stat = path.stat()
    soundfile.write(path, burst(9, 6000), RATE)
    os.utime(path, ns=(0, stat.st_mtime_ns))


@pytest.mark.parametrize("change", [touch, lengthen])
def test_made_again_when_a_file_changes(speech, change):
    old = open_here(speech)
    change(speech)
    new = open_here(speech)
    assert new.path != old.path
    if change is lengthen:
        assert list(new.lengths - old.lengths) == [1000, 0, 0, 0]


@pytest.mark.parametrize(
    "options",
    [{"rate": 4000}, {"names": NAMES[:3]}, {"names": NAMES[::-1]}],
)
def test_each_request_has_its_own(speech, no_decoding, options):
    first = open_here(speech)
    other = open_here(speech, **options)
    assert first.path != other.path and len(files(speech)) == 4
    assert other.names == options.get("names", NAMES)
    no_decoding()
    assert open_here(speech).path == first.path
    assert open_here(speech, **options).path == other.path


def test_relative_folder_is_the_same(speech, no_decoding, monkeypatch):
    open_here(speech)
    no_decoding()
    monkeypatch.chdir(speech)
    open_store(".", NAMES, RATE, "../store")


@pytest.mark.parametrize(
    "lost, kept", [(".json", 1000), (None, None), (None, 0), (None, 1000)]
)
def test_samples_or_an_index_alone_are_not_trusted(store, speech, lost, kept):
    """A killed process leaves no index, which is written last. Or someone freed
    some space, or the computer crashed.
    """
    content = store.path.read_bytes()
    store.path.with_suffix(lost or store.path.suffix).unlink()
    if kept is not None:
        store.path.write_bytes(content[:kept])
    open_here(speech)
    assert store.path.read_bytes() == content


@pytest.mark.parametrize("damage", ["half", "", "{}", "[]", "null", b"\xff"])
def test_damaged_index_is_made_again(store, speech, damage):
    path = store.path.with_suffix(".json")
    before = {p.name: p.read_bytes() for p in files(speech)}
    if damage == "half":
        damage = before[path.name][:100]
    path.write_bytes(damage if isinstance(damage, bytes) else damage.encode())
    assert open_here(speech).names == NAMES
    assert {p.name: p.read_bytes() for p in files(speech)} == before


def test_store_of_another_format_is_made_again(speech, monkeypatch):
    old = open_here(speech)
    old.path.write_bytes(bytes(old.path.stat().st_size))
    monkeypatch.setattr(speech_store, "FORMAT", speech_store.FORMAT + 1)
    new = open_here(speech)
    assert new.path != old.path and new.read(0).any()


def test_samples_are_on_the_disk_before_their_index(speech, monkeypatch):
    """An index vouches for them, even if the power fails."""
    events, sync, write = [], os.fsync, speech_store.write_text

    def note_sync(number):
        events.append(os.fstat(number).st_size)
        sync(number)

    def note_write(path, text):
        events.append(path.suffix)
        write(path, text)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(speech_store, "write_text", note_write)
    size = open_here(speech).path.stat().st_size
    assert events[:2] == [size, ".json"]


def test_rate_below_the_wanted_one_is_warned_of(speech, caplog):
    """Once, with one of the files."""
    open_here(speech, NAMES[3:], rate=16000)
    assert not caplog.records
    store = open_here(speech, rate=16000)
    assert store.rate == 16000 and len(store) == 4
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "ann/1.wav has 8000 Hz" in record.message
    assert "16000 Hz" in record.message


def test_names_that_are_not_unicode(speech, monkeypatch):
    """Of an old disc; what reads the sound may know them or not."""
    monkeypatch.setattr(
        speech_store,
        "_decode",
        lambda task: (np.ones(9, np.int16), 1.0, RATE),
    )
    name = os.fsdecode(b"bob/\xfc.wv1")
    try:
        (speech / NAMES[2]).rename(speech / name)
    except OSError:
        pytest.skip("the file system allows Unicode alone")
    store = open_here(speech, [name])
    assert store.names == open_here(speech, [name]).names == [name]


def test_same_bytes_on_any_number_of_processes(speech, monkeypatch):
    # The work of four files would go to one process.
    original = speech_store.parallel_map
    monkeypatch.setattr(
        speech_store,
        "parallel_map",
        lambda *a, **options: original(*a, **options, chunk=1),
    )
    made = []
    for jobs in (1, 2):
        open_here(speech, jobs=jobs)
        made.append({p.name: p.read_bytes() for p in files(speech)})
        for path in files(speech):
            path.unlink()
    assert made[0] == made[1]


def test_pickles_without_the_samples(store):
    whole = store.read(2)
    pickled = pickle.dumps(store)
    assert len(pickled) < 2000 < store.path.stat().st_size
    np.testing.assert_array_equal(pickle.loads(pickled).read(2), whole)
    np.testing.assert_array_equal(SpeechStore(store.path).read(2), whole)


@pytest.mark.parametrize("jobs", [1, 2])
def test_silent_utterance_is_named_and_nothing_left(speech, jobs):
    soundfile.write(speech / NAMES[1], np.zeros(8000), RATE)
    with refused(r"ann/2\.flac is silent"):
        open_here(speech, jobs=jobs)
    assert files(speech) == []


def test_broken_utterance_is_named_and_nothing_left(speech):
    content = (speech / NAMES[0]).read_bytes()
    (speech / NAMES[0]).write_bytes(content[:-1000])
    with refused(r"ann/1\.wav is truncated"):
        open_here(speech)
    assert files(speech) == []


def test_link_to_nowhere_is_named(speech):
    (speech / "gone.wav").symlink_to("nowhere.wav")
    with refused(r"Cannot read .*gone\.wav: No such"):
        open_here(speech, ["gone.wav"])


def test_one_channel_of_noise(speech):
    noise = np.stack([burst(1, 4000), burst(2, 4000)], axis=1)
    soundfile.write(speech / "noise.wav", noise, RATE)
    with refused(r"noise\.wav has 2 channels"):
        open_here(speech, ["noise.wav"])
    for channel in (0, 1):
        options = {"channel": channel, "rumble": True}
        read = open_here(speech, ["noise.wav"], **options).read(0)
        wanted = noise[:, channel] * (LOUDEST / np.abs(noise[:, channel]).max())
        assert np.abs(read - wanted).max() <= 0.6 / 32768


def test_noise_has_no_rumble(speech):
    """But impulse responses keep theirs."""
    noise = burst(1, 4000) / 32768
    soundfile.write(speech / "noise.wav", noise + 0.2, RATE, "FLOAT")
    read = open_here(speech, ["noise.wav"], channel=0).read(0)
    wanted = without_rumble(noise, RATE)
    wanted *= LOUDEST / np.abs(wanted).max()
    assert np.abs(read - wanted).max() < 1e-3
    kept = open_here(speech, ["noise.wav"], channel=0, rumble=True).read(0)
    assert kept.mean() > 0.1


def test_silent_noise_is_allowed(speech):
    """Its recorder may have been off; there is no speaker to miss."""
    soundfile.write(speech / "noise.wav", np.zeros(4000), RATE)
    store = open_here(speech, ["noise.wav"], channel=0)
    assert store.levels[0] == 0 and not store.read(0).any()


def test_empty_noise_is_named(speech):
    soundfile.write(speech / "noise.wav", np.zeros(0), RATE)
    with refused(r"noise\.wav is empty"):
        open_here(speech, ["noise.wav"], channel=0)
    assert files(speech) == []


def test_folder_that_cannot_be_written(speech):
    (speech.parent / "store").write_text("a file")
    with refused("Cannot write .*store"):
        open_here(speech)
