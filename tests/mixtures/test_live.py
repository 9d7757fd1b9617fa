"""Mixtures on the fly keep the rule of wsj0-mix."""

import collections
import itertools

import numpy as np
import pytest
import soundfile
import torch
from speech_in_memory import (
    RATE,
    Sounds,
    contents,
    hiss,
    make_speech,
    mixtures,
    parts_of,
)

from dpcl_dprnn.speech.levels import active_level
from dpcl_dprnn.speech.store import open_store


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    return make_speech(tmp_path_factory.mktemp("speech"))


def find(source, utterance):
    """Where a source is in its utterance, and how much louder there."""
    start = np.correlate(utterance, source, "valid").argmax()
    piece = utterance[start : start + len(source)]
    scale = source @ piece / (piece @ piece)
    np.testing.assert_allclose(source, scale * piece, atol=2e-6)
    return start, scale


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("crop", [None, 1500])
def test_rule_of_the_mixture(count, crop, speech):
    """Pieces of utterances, at the gains over the active levels."""
    options = {"num_spks": count, "speakers": (count,), "crop": crop}
    for item in mixtures(speech, **options):
        mixture, sources = item["mixture"].numpy(), item["sources"].numpy()
        names, gains = parts_of(item["id"])
        assert mixture.dtype == sources.dtype == np.float32
        assert sources.shape == (*mixture.shape, count)
        np.testing.assert_allclose(sources.sum(axis=1), mixture, atol=1e-6)
        peak = max(np.abs(mixture).max(), np.abs(sources).max())
        assert peak == pytest.approx(0.9, abs=1e-6)
        numbers = [speech.names.index(f"{name}.wav") for name in names]
        assert len({number // 2 for number in numbers}) == count  # speakers
        utterances = [speech.read(number) for number in numbers]
        assert len(mixture) == (crop or min(map(len, utterances)))
        assert gains == [gains[0], -gains[0], 0][:count]
        assert 0 <= gains[0] <= 2.5
        scales = []
        for source, utterance, gain in zip(
            sources.T, utterances, gains, strict=True
        ):
            _, scale = find(source, utterance)
            level = active_level(utterance, RATE)
            scales.append(scale * level**0.5 / 10 ** (gain / 20))
        assert scales == pytest.approx([scales[0]] * count, rel=1e-4)


def test_draws_are_spread():
    """Each speaker, utterance, place and gain, whatever there is of it."""
    rng = np.random.default_rng(0)
    speech = Sounds(**{f"u{n}": rng.standard_normal(12) for n in range(104)})
    groups = [list(range(100)), [100], [101], [102], [103]]
    uses, starts, gains = collections.Counter(), collections.Counter(), []
    for item in mixtures(speech, 1000, groups=groups, crop=10):
        names, (gain, _) = parts_of(item["id"])
        numbers = [int(name[1:]) for name in names]
        uses.update(numbers)
        gains.append(gain)
        for number, source in zip(numbers, item["sources"].T, strict=True):
            starts[int(find(source.numpy(), speech.signals[number])[0])] += 1
    # Each of five speakers has two fifths of the mixtures, although the first
    # has a hundred utterances.
    assert len(uses) > 95
    for number in range(100, 104):
        assert abs(uses.pop(number) - 400) < 4 * 400**0.5
    assert max(uses.values()) < 20
    assert set(starts) == {0, 1, 2}
    assert all(abs(count - 667) < 4 * 667**0.5 for count in starts.values())
    assert 0 <= min(gains) < 0.1 and 2.4 < max(gains) <= 2.5
    assert np.mean(gains) == pytest.approx(1.25, abs=0.1)


def test_speakers_are_drawn_by_their_chances():
    speech = Sounds(**{f"u{n}": hiss(n, 100) for n in range(4)})
    mixer = mixtures(speech, speakers=(1,), crop=10).mixer
    chances, rng = np.array([0.0, 0.1, 0.3, 0.6]), np.random.default_rng(0)
    groups = [[number] for number in range(4)]
    names = [mixer.draw(groups, rng, chances)[2] for _ in range(1000)]
    for number, chance in enumerate(chances):
        count = sum(name.startswith(f"u{number}_") for name in names)
        assert abs(count - 1000 * chance) <= 4 * (1000 * chance) ** 0.5


def is_piece(source, speech, name):
    """Whether a source is a piece of an utterance as it is."""
    whole = speech.read(speech.names.index(f"{name}.wav")).astype(float)
    fits = np.correlate(whole, source.astype(float), "valid")
    energies = np.correlate(whole**2, np.ones(len(source)), "valid") + 1e-9
    return (fits / np.sqrt(energies * (source @ source))).max() > 0.9999


@pytest.mark.parametrize("kind", ["noise", "room"])
def test_noise_and_rooms_are_not_always_there(kind, speech):
    """As many as is said; in a room are all speakers of a mixture or none."""
    there = Sounds(there=np.random.default_rng(1).standard_normal(700))
    stores = {"noise": {"noise": there}, "room": {"rooms": there}}[kind]
    options = {**stores, f"{kind}_probability": 0.3, "crop": 500}
    with_it = 0
    for item in mixtures(speech, 200, **options):
        names, _ = parts_of(item["id"])
        dry = [
            is_piece(source.numpy(), speech, name)
            for name, source in zip(names, item["sources"].T, strict=True)
        ]
        clean = item["sources"].sum(dim=1)
        if kind == "noise":
            with_it += not torch.allclose(clean, item["mixture"], atol=1e-5)
            assert all(dry)
        else:
            assert len(set(dry)) == 1
            with_it += not dry[0]
    assert abs(with_it - 60) < 4 * 42**0.5


@pytest.mark.parametrize("kind", ["telephone", "codec"])
def test_telephones_and_codecs(kind, speech):
    """As many as is said; a codec leaves the sources as they were."""
    plain = mixtures(speech, 100)
    changed = mixtures(speech, 100, **{f"{kind}_probability": 0.3})
    with_it = 0
    for before, after in zip(plain, changed, strict=True):
        clean = after["sources"].sum(dim=1)
        if kind == "telephone":
            torch.testing.assert_close(
                after["mixture"], clean, atol=1e-5, rtol=0
            )
            with_it += not torch.allclose(before["sources"], after["sources"])
        else:
            assert torch.equal(before["sources"], after["sources"])
            with_it += not torch.equal(before["mixture"], after["mixture"])
    assert abs(with_it - 30) < 4 * 21**0.5


def test_target_in_a_room_is_the_early_part(speech):
    response = np.zeros(400)
    response[[20, 60, 300]] = 1.0, 0.5, 0.5
    room = {"rooms": Sounds(room=response), "crop": 1000}
    for whole, early in zip(
        mixtures(speech, **room),
        mixtures(speech, **room, room_target=40),
        strict=True,
    ):
        late = whole["sources"] - early["sources"] * (
            whole["mixture"].abs().max() / early["mixture"].abs().max()
        )
        # Nothing comes later than what comes 280 samples after the direct sound.
        assert late[:280].abs().max() < 1e-5 < 1e-2 < late[280:].abs().max()
        torch.testing.assert_close(
            whole["mixture"] / whole["mixture"].abs().max(),
            early["mixture"] / early["mixture"].abs().max(),
        )


def test_gain_db(speech):
    gains = [
        parts_of(item["id"])[1][0] for item in mixtures(speech, 40, gain_db=20)
    ]
    assert max(gains) > 15
    for item in mixtures(speech, 3, gain_db=0):
        assert parts_of(item["id"])[1] == [0, 0]


def noises(*lengths):
    """A speaker each, with no sample of zero."""
    rng = np.random.default_rng(0)
    signals = {
        f"u{n}": rng.uniform(1, 2, size) for n, size in enumerate(lengths)
    }
    return Sounds(**signals), [[n] for n in range(len(lengths))]


def spans(item):
    """Where each source begins and ends."""
    rows = [source.nonzero().flatten() for source in item["sources"].T]
    return [(int(row[0]), int(row[-1]) + 1) for row in rows]


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("overlap", [-0.5, 0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("crop", [None, 3000, 2000])
def test_overlap(count, overlap, crop):
    """One begins when the one before has said all but that part."""
    speech, groups = noises(1200, 1000, 1100)
    options = {"num_spks": count, "speakers": (count,), "crop": crop}
    for item in mixtures(
        speech, 4, groups=groups, overlap=(overlap, overlap), **options
    ):
        names, _ = parts_of(item["id"])
        duration = min(speech.lengths[int(name[1:])] for name in names)
        room = (crop or 10**6) / (1 + (count - 1) * (1 - overlap))
        duration = min(duration, int(room))
        shift = int((1 - overlap) * duration)
        wanted = [(k * shift, k * shift + duration) for k in range(count)]
        assert spans(item) == wanted
        assert len(item["mixture"]) == wanted[-1][1]


def test_range_of_overlaps():
    speech, groups = noises(1200, 1000, 1100, 1300, 1400)
    options = {"num_spks": 5, "speakers": (5,), "crop": 997}
    ratios = []
    for item in mixtures(
        speech, 300, groups=groups, overlap=(0.2, 0.9), **options
    ):
        (_, end), (second, _), *_ = spans(item)
        ratios.append((end - second) / end)
        assert 985 < len(item["mixture"]) <= 997
    assert 0.2 <= min(ratios) < 0.21 and 0.88 < max(ratios) < 0.91


def test_random_number_of_speakers(speech):
    dataset = mixtures(speech, 200, num_spks=4, speakers=(2, 3), crop=100)
    counts = collections.Counter()
    for item in dataset:
        assert item["sources"].shape == (100, 4)
        count = len(parts_of(item["id"])[0])
        audible = item["sources"].any(dim=0).tolist()
        assert not any(audible[count:])
        counts[count] += 1
    assert set(counts) == {2, 3}
    assert abs(counts[2] - 100) < 4 * 50**0.5


def tone(frequency, length):
    return np.sin(2 * np.pi * frequency / RATE * np.arange(length))


def peak_frequency(samples):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), RATE))
    return spectrum.argmax()


@pytest.mark.parametrize("crop", [None, 1800])
def test_speeds(crop):
    """A tone of 400 Hz at 80 % has 320 Hz and lasts 1 / 0.8 as long."""
    tones = {"u0": tone(400, 2400), "u1": tone(1000, 2000)}
    speech, groups = Sounds(**tones), [[0], [1]]
    seen = set()
    for item in mixtures(
        speech, 40, groups=groups, speeds=(50, 80, 125), crop=crop
    ):
        lengths, drawn = [], []
        names, _ = parts_of(item["id"])
        for name, source in zip(names, item["sources"].T, strict=True):
            frequency = {"u0": 400, "u1": 1000}[name]
            ratio = peak_frequency(source.numpy()) / frequency
            (speed,) = [s for s in (50, 80, 125) if abs(s - 100 * ratio) < 1.5]
            lengths.append(-(-len(tones[name]) * 100 // speed))
            drawn.append(speed)
        assert len(item["mixture"]) == min(*lengths, crop or 10**6)
        seen.add(tuple(drawn))
    assert seen == set(itertools.product((50, 80, 125), repeat=2))


@pytest.mark.parametrize("length", [300, 5000])
def test_noise(length, speech):
    """A piece of it, or all of it again and again, at its power ratio."""
    noise = Sounds(hiss=np.random.default_rng(9).standard_normal(length))
    (whole,) = noise.signals
    starts = set()
    for item in mixtures(speech, noise=noise, snr_db=(5, 5), crop=1000):
        sources = item["sources"].numpy().astype(np.float64)
        clean = sources.sum(axis=1)
        added = item["mixture"].numpy() - clean
        ratio = 10 * np.log10((clean @ clean) / (added @ added))
        assert ratio == pytest.approx(5, abs=1e-3)
        peak = max(np.abs(item["mixture"]).max(), np.abs(sources).max())
        assert peak == pytest.approx(0.9, abs=1e-6)
        if length == 300:
            assert find(added[:300], whole)[0] == 0
            np.testing.assert_allclose(added[300:], added[:-300], atol=1e-6)
        else:
            starts.add(find(added, whole)[0])
    assert length == 300 or len(starts) > 6


def test_range_of_noise(speech):
    noise = Sounds(a=hiss(1, 9000) + 0.1, b=0.01 * np.ones(900))
    ratios = []
    for item in mixtures(speech, 80, noise=noise, snr_db=(-5, 10), crop=500):
        clean = item["sources"].sum(dim=1)
        ratio = clean.norm() / (item["mixture"] - clean).norm()
        ratios.append(20 * float(ratio.log10()))
    assert -5.01 < min(ratios) < -3 and 8 < max(ratios) < 10.01
    assert np.mean(ratios) == pytest.approx(2.5, abs=2)


def test_rooms(speech):
    """Convolution, aligned to the direct sound, with the energy kept."""
    response = np.array([0.1, 0.0, -1.0, 0.5, 0.0, -0.3])
    rooms = Sounds(room=response)
    for dry, wet in zip(
        mixtures(speech, 4, crop=1000),
        mixtures(speech, 4, crop=1000, rooms=rooms),
        strict=True,
    ):
        factors = []
        for before, after in zip(
            dry["sources"].T.double(), wet["sources"].T.double(), strict=True
        ):
            wanted = np.convolve(before, response)[2:1002]
            wanted *= float(before.norm()) / np.linalg.norm(wanted)
            factors.append(float(after.numpy() @ wanted / (wanted @ wanted)))
            np.testing.assert_allclose(after, factors[-1] * wanted, atol=1e-5)
        assert factors[0] == pytest.approx(factors[1], rel=1e-4)
        torch.testing.assert_close(wet["sources"].sum(dim=1), wet["mixture"])


def test_every_source_has_a_room_of_its_own(speech):
    rooms = Sounds(plus=[1.0], minus=[-1.0])
    signs = set()
    for item in mixtures(speech, 30, crop=1000, rooms=rooms):
        names, _ = parts_of(item["id"])
        utterances = [speech.read(int(name[1:])) for name in names]
        # Which of the two signs is found in the utterance.
        correlations = [
            np.correlate(utterance, source.numpy(), "valid")
            for utterance, source in zip(
                utterances, item["sources"].T, strict=True
            )
        ]
        signs.add(tuple(c.max() > -c.min() for c in correlations))
    assert len(signs) == 4


def with_pauses(seed):
    """A second of speech in nine of pause, which has a hiss of its own."""
    rng = np.random.default_rng(seed)
    samples = 1e-3 * rng.standard_normal(10 * RATE)
    samples[(seed + 1) * RATE : (seed + 2) * RATE] *= 200
    return samples


@pytest.mark.parametrize("speeds", [(100,), (90, 110)])
def test_pieces_are_not_all_pause(speeds, tmp_path):
    """Nine of ten at random would be; and each is drawn anew alike."""
    names = [f"u{number}.wav" for number in range(8)]
    for number, name in enumerate(names):
        soundfile.write(tmp_path / name, with_pauses(number), RATE)
    store = open_store(tmp_path, names, RATE, tmp_path / "store")
    options = {"crop": RATE // 4, "speeds": speeds, "gain_db": 0}
    dataset = mixtures(store, 60, **options)
    for item in dataset:
        energies = item["sources"].square().mean(dim=0)
        # A hundredth of a piece, if not more, is speech; hiss has 46 dB less.
        assert energies.min() > 5e-3 * energies.max()
    again = mixtures(store, 60, **options)
    assert contents(again[n] for n in reversed(range(60))) == contents(dataset)


@pytest.mark.parametrize("silent", ["speech", "noise", "rooms"])
def test_silence_is_finite(silent):
    """A long pause, a noise that is off, a response of nothing."""
    speech, groups = noises(500, 500)
    quiet = Sounds(a=np.zeros(500), b=np.zeros(500))
    stores = {"noise": speech, "rooms": speech, silent: quiet}
    dataset = mixtures(stores.pop("speech", speech), groups=groups, **stores)
    for item in dataset:
        assert item["mixture"].isfinite().all()
        assert item["sources"].isfinite().all()
        heard = item["mixture"].any(), item["sources"].any()
        assert heard == ((True, True) if silent == "noise" else (False, False))


def test_one_silent_speaker_leaves_the_other():
    speech = Sounds(u0=np.ones(200), u1=np.zeros(200))
    for item in mixtures(speech, 4, groups=[[0], [1]]):
        torch.testing.assert_close(item["mixture"], torch.full((200,), 0.9))
