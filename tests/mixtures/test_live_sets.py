"""A folder of speakers becomes the sets of training, or an error that helps."""

import collections
import types

import numpy as np
import pytest
import soundfile
import torch
from refusals import refused
from shorten import write_speech
from sounds import RATE, write_speakers

from dpcl_dprnn.mixtures import live_sets as dynamic_sets
from dpcl_dprnn.mixtures.live_sets import make_dynamic_sets, read_settings
from dpcl_dprnn.sound.rumble import without_rumble

SETTINGS = {
    "train": 30,
    "valid": 10,
    "test": 12,
    "speakers": 2,
    "speeds": [100],
    "gain_db": 2.5,
    "overlap": 1.0,
    "noise_folder": "",
    "snr_db": [0.0, 20.0],
    "noise_probability": 1.0,
    "room_folder": "",
    "room_probability": 1.0,
    "room_target_ms": None,
    "telephone_probability": 0.0,
    "codec_probability": 0.0,
    "speaker_power": 0.0,
    "shares": None,
    "share_epochs": 10,
    "same_folder": 0.0,
    "speaker_level": 0,
}


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flat")
    return folder, write_speakers(folder, "abcdefghij")


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    folder = tmp_path_factory.mktemp("split")
    parts = {"train-clean-100": "abcd", "dev-clean": "ef", "test-clean": "gh"}
    lengths = {}
    for name, speakers in parts.items():
        lengths |= write_speakers(folder / name, speakers)
    return folder, lengths


@pytest.fixture
def make(tmp_path):
    """Make the sets, with changes to the settings."""

    def make(folder, settings=None, **options):
        arguments = {
            "num_spks": 2,
            "sample_rate": RATE,
            "training_crop": RATE // 4,
            "seed": 1,
            **options,
        }
        settings = {**SETTINGS, **(settings or {})}
        return make_dynamic_sets(
            folder, tmp_path / "cache", settings, **arguments
        )

    return make


def talkers(dataset):
    """Who speaks in each mixture."""
    return [item["id"].split("_")[1::2] for item in dataset]


def heard(*datasets):
    """Who speaks at all."""
    pairs = [pair for dataset in datasets for pair in talkers(dataset)]
    return {talker for pair in pairs for talker in pair}


def contents(dataset):
    return [(item["id"], item["mixture"].numpy().tobytes()) for item in dataset]


@pytest.mark.parametrize("kind", ["flat", "split"])
def test_splits_share_no_speaker(kind, make, request):
    folder, lengths = request.getfixturevalue(kind)
    sets = make(folder)
    found = {name: heard(dataset) for name, dataset in sets.items()}
    assert {name: len(dataset) for name, dataset in sets.items()} == {
        "train": 30,
        "valid": 10,
        "test": 12,
    }
    assert set().union(*found.values()) == set(lengths)
    assert sum(map(len, found.values())) == len(lengths)
    assert len(found["valid"]) == len(found["test"]) == 2
    if kind == "split":
        assert found["train"] == set("abcd") and found["test"] == set("gh")


def test_training_is_cropped_and_new_in_every_epoch(flat, make):
    counter = types.SimpleNamespace(current=1)
    dataset = make(flat[0])["train"]
    dataset.epoch_counter = counter
    first = contents(dataset)
    assert contents(dataset) == first
    assert {len(item["mixture"]) for item in dataset} == {RATE // 4}
    counter.current = 2
    second = contents(dataset)
    assert not {m for _, m in first} & {m for _, m in second}


@pytest.mark.parametrize("name", ["valid", "test"])
def test_held_out_mixtures_are_whole_and_fixed(name, flat, make):
    """As fast as they were spoken, in whichever epoch."""
    folder, lengths = flat
    sets = make(folder, {"speeds": [50]})
    assert sets[name].epoch_counter is None
    assert contents(sets[name]) == contents(sets[name])
    for item, pair in zip(sets[name], talkers(sets[name]), strict=True):
        assert len(item["mixture"]) == min(lengths[talker] for talker in pair)
    # At half speed the piece is half as much of the speech.
    spectra = {
        which: np.abs(np.fft.rfft(sets[which][0]["mixture"].numpy()))
        for which in (name, "train")
    }
    upper = {
        which: np.sum(s[len(s) // 2 :] ** 2) / np.sum(s**2)
        for which, s in spectra.items()
    }
    assert upper[name] > 0.4 and upper["train"] < 0.05


def test_held_out_mixtures_have_an_end(flat, make, monkeypatch):
    """Of recordings of hours; here the shortest has 0.6 s."""
    monkeypatch.setattr(dynamic_sets, "LONGEST", 0.3)
    sets = make(flat[0], training_crop=RATE // 2)
    for name, seconds in {"train": 0.5, "valid": 0.3, "test": 0.3}.items():
        lengths = {len(item["mixture"]) for item in sets[name]}
        assert lengths == {round(seconds * RATE)}, name


def test_training_and_held_out_mixtures_are_unlike(flat, make):
    """Even where speakers are shared, the seeds are not."""
    sets = make(flat[0], {"train": 5, "valid": 5, "test": 5})
    first = [[item["id"].split("_")[2] for item in sets[n]] for n in sets]
    gains = [gain for each in first for gain in each]
    assert len(set(gains)) == 15


def test_seed(flat, make):
    one, same, other = (make(flat[0], seed=seed) for seed in (1, 1, 2))
    for name in one:
        assert contents(one[name]) == contents(same[name])
        assert contents(one[name]) != contents(other[name])
    divisions = [set(talkers(sets["valid"])[0]) for sets in (one, same, other)]
    assert divisions[0] == divisions[1] != divisions[2]


def test_training_only(flat, split, make):
    """A flat folder is all for training; of another only that split is."""
    for (folder, _), wanted in ((flat, "abcdefghij"), (split, "abcd")):
        sets = make(folder, {"train": 60}, training_only=True)
        assert list(sets) == ["train"]
        assert heard(sets["train"]) == set(wanted)


def test_speech_at_another_rate(tmp_path, make):
    lengths = write_speakers(tmp_path / "speech", "abcdef", rate=16000)
    dataset = make(tmp_path / "speech")["test"]
    (pair, *_), item = talkers(dataset), dataset[0]
    assert len(item["mixture"]) == min(lengths[talker] for talker in pair)


def test_two_or_three_speakers(flat, make):
    sets = make(flat[0], {"speakers": [2, 3]}, num_spks=3)
    for dataset in sets.values():
        assert {len(group) for group in talkers(dataset)} == {2, 3}
        assert {item["sources"].shape[1] for item in dataset} == {3}


def test_overlap_and_gain(flat, make):
    sets = make(flat[0], {"overlap": 0.5, "gain_db": 0})
    for dataset in sets.values():
        item = dataset[0]
        assert item["id"].endswith("0.0000")
        first, second = (s.nonzero().flatten() for s in item["sources"].T)
        shift, duration = int(second[0]), int(first[-1]) + 1
        assert abs(shift - duration / 2) <= 2


def test_stereo_noise_takes_the_first_channel(flat, tmp_path, make):
    """The second one is a tone, which would be heard."""
    time = np.arange(3 * RATE) / RATE
    channels = [np.sin(2 * np.pi * hertz * time) for hertz in (1000, 3000)]
    path = tmp_path / "noise" / "deep" / "a b.wav"
    write_speech(path, 0.5 * np.stack(channels, axis=1))
    settings = {"noise_folder": str(tmp_path / "noise"), "snr_db": 10}
    for dataset in make(flat[0], settings).values():
        item = dataset[0]
        clean = item["sources"].sum(dim=1)
        noise = item["mixture"] - clean
        ratio = 20 * float((clean.norm() / noise.norm()).log10())
        assert ratio == pytest.approx(10, abs=1e-3)
        spectrum = torch.fft.rfft(noise, n=RATE).abs()
        assert int(spectrum.argmax()) == 1000
        assert spectrum[2900:3100].max() < 0.01 * spectrum.max()


HERTZ = range(1000, 3200, 100)  # of noises, each by a tone of its own


def write_noises(folder, count=22):
    for hertz in HERTZ[:count]:
        tone = 0.5 * np.sin(2 * np.pi * hertz * np.arange(2 * RATE) / RATE)
        write_speech(folder / f"{hertz}.wav", tone)
    return {"noise_folder": str(folder), "snr_db": -20, "train": 150}


def noises(dataset):
    """Which of the tones are heard."""
    found = set()
    for item in dataset:
        noise = item["mixture"] - item["sources"].sum(dim=1)
        spectrum = torch.fft.rfft(noise, n=RATE).abs()
        found.add(100 * round(int(spectrum.argmax()) / 100))
    return found


def test_splits_share_no_noise(flat, tmp_path, make):
    settings = write_noises(tmp_path / "noise") | {"valid": 30, "test": 30}
    heard = {
        seed: [
            noises(dataset)
            for dataset in make(flat[0], settings, seed=seed).values()
        ]
        for seed in (1, 2)
    }
    for parts in heard.values():
        assert [len(part) for part in parts] == [18, 2, 2]
        assert set().union(*parts) == set(HERTZ)
    assert heard[1] != heard[2]
    again = make(flat[0], settings, seed=1).values()
    assert [noises(dataset) for dataset in again] == heard[1]


@pytest.mark.parametrize("count, parts", [(1, None), (2, None), (3, [1, 1, 1])])
def test_few_noises(count, parts, flat, tmp_path, make):
    """One or two of them have to do for all splits."""
    sets = make(flat[0], write_noises(tmp_path / "noise", count))
    heard = [noises(dataset) for dataset in sets.values()]
    assert set().union(*heard) == set(HERTZ[:count])
    assert [len(each) for each in heard] == (parts or [count] * 3)


@pytest.mark.parametrize("flip", [False, True])
def test_noises_in_folders_of_splits(flip, flat, tmp_path, make):
    """As WHAM has them."""
    names = ["tt", "cv", "tr"] if flip else ["tr", "cv", "tt"]
    for number, name in enumerate(names):
        folder = tmp_path / "noise" / name / "deep"
        write_noises(folder, 2 * number + 2)
        for hertz in HERTZ[: 2 * number]:
            (folder / f"{hertz}.wav").unlink()
    settings = {"noise_folder": str(tmp_path / "noise"), "snr_db": -20}
    sets = make(flat[0], settings)
    heard = [noises(dataset) for dataset in sets.values()]
    pairs = [{1000, 1100}, {1200, 1300}, {1400, 1500}]
    assert heard == (pairs[::-1] if flip else pairs)
    for path in (tmp_path / "noise" / "cv").rglob("*.wav"):
        path.unlink()
    with refused("noise_folder: .*noise has no sound files"):
        make(flat[0], settings)


def test_splits_share_no_room(flat, tmp_path, make):
    """Each has an echo after its own time."""
    delays = range(100, 400, 100)
    for delay in delays:
        response = np.zeros(delay + 1)
        response[[0, delay]] = 0.9, 0.8
        write_speech(tmp_path / "rooms" / f"{delay}.wav", response)
    found = []
    for dataset in make(
        flat[0], {"room_folder": str(tmp_path / "rooms")}
    ).values():
        heard = set()
        for item in dataset:
            for source in item["sources"].T.double():
                echoes = [float(source[d:] @ source[:-d]) for d in delays]
                heard.add(delays[int(np.argmax(echoes))])
        (room,) = heard
        found.append(room)
    assert set(found) == set(delays)


@pytest.mark.parametrize("count", [1, 4])
def test_silent_room_is_named(count, flat, tmp_path, make):
    """Nothing would be heard in it."""
    folder = tmp_path / "rooms"
    for number in range(count):
        write_speech(folder / f"{number}.wav", [0.5, 0.1])
    write_speech(folder / "off.wav", np.zeros(100))
    with refused(r"room_folder: .*off\.wav is silent"):
        make(flat[0], {"room_folder": str(folder)})
    # A noise may be: its recorder was off.
    make(flat[0], {"noise_folder": str(folder)})


# Several folders of speech, and who is drawn


@pytest.fixture(scope="module")
def another(tmp_path_factory):
    """Only training, with speakers whose speech is four times as long."""
    folder = tmp_path_factory.mktemp("another")
    write_speakers(folder / "train", "stuvwxyz", shortest=2.4, step=0)
    return folder


def test_first_folder_has_what_is_held_out(flat, another, make):
    sets = make([flat[0], another])
    alone = make(flat[0])
    for name in ("valid", "test"):
        assert contents(sets[name]) == contents(alone[name])
    held_out = heard(sets["valid"], sets["test"])
    assert heard(sets["train"]) == set("abcdefghijstuvwxyz") - held_out
    # The utterances are those that the names tell.
    for item in sets["train"]:
        for name, source in zip(
            item["id"].split("_")[1::2], item["sources"].T, strict=True
        ):
            (path,) = [
                path
                for folder in (flat[0], another)
                for path in folder.rglob(f"{name}.wav")
            ]
            whole = without_rumble(*soundfile.read(path))
            fits = np.correlate(whole, source.numpy().astype(float))
            energy = np.correlate(whole**2, np.ones(len(source)))
            score = fits / np.sqrt(energy * float(source.square().sum()))
            assert score.max() > 0.999


def test_a_share_of_no_noise_is_told(flat, make, caplog):
    make(flat[0], {"noise_probability": 0.3})
    told = "noise_probability is 0.3 and does nothing: give a noise_folder"
    assert told in caplog.text
    assert "room" not in caplog.text


def test_held_out_speakers_are_not_trained_on(flat, tmp_path, make, caplog):
    """Though another folder has them too."""
    write_speakers(tmp_path / "other", "cdefghijkl")
    sets = make([flat[0], tmp_path / "other"], {"train": 200})
    held_out = heard(sets["valid"], sets["test"])
    assert heard(sets["train"]) == set("abcdefghijkl") - held_out
    known = ", ".join(sorted(held_out & set("cdefghijkl"))[:3])
    assert f"they are left out: {known}" in caplog.text


def drawn(dataset, epoch):
    """How often each is drawn in an epoch."""
    dataset.epoch_counter = types.SimpleNamespace(current=epoch)
    return collections.Counter(t for pair in talkers(dataset) for t in pair)


def test_shares_of_the_folders_change(flat, another, make):
    settings = {
        "train": 800,
        "speakers": 1,
        "shares": [[1, 3], [1.0, 0.0]],
        "share_epochs": 4,
    }
    dataset = make([flat[0], another], settings)["train"]
    for epoch, share in {1: 0.25, 3: 0.625, 5: 1.0, 9: 1.0}.items():
        counts = drawn(dataset, epoch)
        first = sum(counts[name] for name in "abcdefghij")
        assert (
            abs(first - 800 * share) <= 4 * (800 * share * (1 - share)) ** 0.5
        )


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_power_of_the_seconds(power, flat, another, make):
    """Of those who speak four times as long, shares being what they are."""
    settings = {"train": 2000, "speakers": 1, "speaker_power": power}
    dataset = make([flat[0], another], settings)["train"]
    counts = drawn(dataset, 1)
    longer = 8 * (4 * RATE * 6 // 10) ** power
    shorter = sum(flat[1][t] ** power for t in set(counts) - set("stuvwxyz"))
    wanted = longer / (longer + shorter)
    spread = (2000 * wanted * (1 - wanted)) ** 0.5
    got = sum(counts[name] for name in "stuvwxyz")
    assert abs(got - 2000 * wanted) <= 4 * spread


@pytest.mark.parametrize(
    "shares", [[[1, 1]], [[1], [1]], [[1, -1], [1, 1]], [[0, 0], [1, 1]], 5]
)
def test_unfit_shares_are_named(shares, flat, another, make):
    with refused("dynamic_mixing.shares is .* 2 folders"):
        make([flat[0], another], {"shares": shares})


@pytest.mark.parametrize("same", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("shares", [None, [[1, 3], [1, 3]]])
def test_speakers_of_one_folder(same, shares, flat, another, make):
    """As often as asked for, beside those that are so by chance; the shares of
    the folders stay what they are.
    """
    settings = {"train": 800, "shares": shares, "same_folder": same}
    dataset = make([flat[0], another], settings)["train"]
    pairs = talkers(dataset)
    inner = [{t in "abcdefghij" for t in pair} for pair in pairs]
    groups = len(dataset.groups) - 8
    p = 0.25 if shares else groups / (groups + 8)
    if same == 1:
        assert all(len(kinds) == 1 for kinds in inner)
        first = sum(kinds == {True} for kinds in inner)
        assert abs(first - 800 * p) <= 4 * (800 * p * (1 - p)) ** 0.5
    else:
        # Of the second speaker, who is another one of his folder.
        apart = sum(
            first * (1 - first) / (1 - first / size)
            for first, size in ((p, groups), (1 - p, 8))
        )
        wanted = 800 * (1 - same) * apart
        got = sum(len(kinds) == 2 for kinds in inner)
        assert abs(got - wanted) <= 4 * (wanted * (1 - wanted / 800)) ** 0.5


def test_one_folder_changes_no_mixture_that_is_held_out(flat, another, make):
    before, after = (
        make([flat[0], another], {"same_folder": same}) for same in (0.0, 0.5)
    )
    for name in ("valid", "test"):
        assert contents(before[name]) == contents(after[name])


def test_a_folder_with_too_few_speakers_left_is_named(flat, make, tmp_path):
    """Where others would have filled in for them before."""
    held_out = sorted(set("abcdefghij") - heard(make(flat[0])["train"]))
    write_speakers(tmp_path / "few", [held_out[0], "y"])
    make([flat[0], tmp_path / "few"])
    with refused("same_folder: .*few has 1 speakers"):
        make([flat[0], tmp_path / "few"], {"same_folder": 0.5})


# Errors


@pytest.mark.parametrize(
    "name, value",
    [
        *(("train", value) for value in (0, -1, 2.5, "x", [3], None, True)),
        *(("valid", value) for value in (0, [])),
        ("test", "ten"),
        *(("speakers", value) for value in (0, 3, [2, 3], [], "2", 1.5)),
        *(("speeds", value) for value in (49, [100, 201], [0.9], [], "all")),
        *(("gain_db", value) for value in (-1, [2.5, 5], float("nan"), None)),
        *(("overlap", value) for value in (1.1, -1.1, [0.8, 0.2], [0, 0.5, 1])),
        *(("snr_db", value) for value in ([20, 0], "loud", [0, 101], [])),
        *(("noise_probability", value) for value in (1.1, -0.1, [0, 1])),
        *(("room_probability", value) for value in ("often", None)),
        *(("room_target_ms", value) for value in (-1, [50], "early")),
        *(("telephone_probability", value) for value in (2, None)),
        *(("codec_probability", value) for value in (-1, "gsm")),
        *(("speaker_power", value) for value in (-1, [1])),
        *(("share_epochs", value) for value in (0, None)),
        *(("same_folder", value) for value in (1.5, None)),
    ],
)
def test_unfit_setting_is_named(name, value):
    with refused() as caught:
        read_settings({**SETTINGS, name: value}, 2)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"dynamic_mixing.{name} is {value!r}; it needs ")


@pytest.mark.parametrize("settings", [5, None, "train: 5", [1]])
def test_settings_that_are_none(settings):
    with refused("dynamic_mixing is "):
        read_settings(settings, 2)


@pytest.mark.parametrize("name", list(SETTINGS))
def test_missing_setting_is_named(name):
    """Of hparams that someone has written."""
    settings = {key: SETTINGS[key] for key in SETTINGS if key != name}
    with refused(f"dynamic_mixing has no {name}"):
        read_settings(settings, 2)


def test_settings_that_fit():
    changes = {"speakers": [1, 2], "overlap": [0, 1], "snr_db": -5, "train": 1}
    read = read_settings({**SETTINGS, **changes}, 2)
    assert read["speakers"] == (1, 2) and read["overlap"] == (0, 1)
    assert read["snr_db"] == (-5, -5) and read["train"] == 1


def test_rate_that_a_codec_lacks(flat, make):
    with refused("codec_probability: .* not 11025"):
        make(flat[0], {"codec_probability": 0.1}, sample_rate=11025)


@pytest.mark.parametrize("name", ["noise_folder", "room_folder"])
def test_unfit_sounds_are_named(name, flat, tmp_path, make):
    folder = tmp_path / "sounds"
    with refused(f"{name}: .*sounds is not a folder"):
        make(flat[0], {name: str(folder)})
    folder.mkdir()
    (folder / "readme.txt").write_text("no sound")
    with refused(f"{name}: .*sounds has no sound files"):
        make(flat[0], {name: str(folder)})
    (folder / "broken.wav").write_bytes(b"garbage" * 100)
    with refused("broken.wav"):
        make(flat[0], {name: str(folder)})


def test_too_few_speakers(flat, make):
    settings = {"speakers": [2, 4]}
    with refused("10 folders .* need 4 or more each"):
        make(flat[0], settings, num_spks=4)
    sets = make(flat[0], settings, num_spks=4, training_only=True)
    assert len(sets["train"]) == 30
