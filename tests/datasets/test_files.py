"""Items and batches hold what the manifest lists."""

import csv
import types

import numpy as np
import pytest
import torch
from refusals import refused
from speechbrain.dataio.batch import PaddedBatch

from dpcl_dprnn.datasets.files import mixture_dataset, mixture_datasets
from dpcl_dprnn.sound.audio import write_wav
from dpcl_dprnn.sound.rumble import without_rumble

RATE = 8000


def write_manifest(folder, lengths, num_spks=2):
    """Wavs of noise and their CSV file; the signals as they are read."""
    rng = np.random.default_rng(0)
    signals = {}
    rows = []
    for index, length in enumerate(lengths):
        row = {"ID": f"mix{index}", "duration": f"{length / RATE:.4f}"}
        sources = rng.integers(-8000, 8000, (num_spks, length), dtype=np.int16)
        waves = [sources.sum(axis=0, dtype=np.int16), *sources]
        for k, wave in enumerate(waves):
            column = f"s{k}_wav" if k else "mix_wav"
            row[column] = str(folder / f"mix{index}_{k}.wav")
            write_wav(row[column], wave, RATE)
        signals[row["ID"]] = torch.from_numpy(np.stack(waves) / 32768).float()
        rows.append(row)
    path = folder / "train.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path, signals


def together(item):
    """Mixture and sources of a dataset's item, [1 + C, T]."""
    return torch.cat([item["mixture"][None], item["sources"].T])


def cleaned(signals):
    """What datasets make of signals [1 + C, T] that are not cropped."""
    mixture = torch.from_numpy(without_rumble(signals[0].numpy(), RATE))
    return torch.cat([mixture[None], signals[1:]])


@pytest.mark.parametrize("num_spks", [2, 3])
def test_items_are_the_files_of_the_manifest(num_spks, tmp_path):
    path, signals = write_manifest(tmp_path, [500, 800, 1], num_spks)
    dataset = mixture_dataset(path, num_spks, RATE)
    assert sorted(item["id"] for item in dataset) == ["mix0", "mix1", "mix2"]
    for item in dataset:
        assert set(item) == {"id", "mixture", "sources"}
        assert item["mixture"].dtype == item["sources"].dtype == torch.float32
        assert torch.equal(together(item), cleaned(signals[item["id"]]))


def test_a_source_without_a_path_is_silent(tmp_path):
    """A mixture of two among mixtures of three."""
    path, signals = write_manifest(tmp_path, [500, 800], num_spks=3)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(str(tmp_path / "mix0_3.wav"), ""))
    first, second = mixture_dataset(path, 3, RATE)
    assert torch.equal(together(first)[:3], cleaned(signals["mix0"])[:3])
    assert not first["sources"][:, 2].any()
    assert torch.equal(together(second), cleaned(signals["mix1"]))


def test_batches_are_padded_with_zeros(tmp_path):
    path, signals = write_manifest(tmp_path, [500, 800])
    batch = PaddedBatch(list(mixture_dataset(path, 2, RATE)))
    assert batch.id == ["mix0", "mix1"]
    assert batch.mixture.data.shape == (2, 800)
    assert batch.sources.data.shape == (2, 800, 2)
    assert torch.equal(batch.mixture.lengths, torch.tensor([0.625, 1]))
    assert torch.equal(batch.sources.lengths, batch.mixture.lengths)
    assert torch.equal(batch.sources.data[0, :500].T, signals["mix0"][1:])
    assert not batch.sources.data[0, 500:].any()
    assert not batch.mixture.data[0, 500:].any()


def starts(dataset, signals, length, epochs, counter):
    """Where the crop of each item begins, epoch by epoch."""
    found = []
    for counter.current in epochs:
        for item in dataset:
            pieces = signals[item["id"]].unfold(1, length, 1).transpose(0, 1)
            error = (pieces - together(item)).square().sum(dim=(1, 2))
            start = int(error.argmin())
            wanted = without_rumble(pieces[start].numpy(), RATE)
            assert np.array_equal(together(item).numpy(), wanted)
            found.append(start)
    return found


@pytest.fixture
def counter():
    return types.SimpleNamespace(current=0)


def test_crop_is_the_same_piece_of_mixture_and_sources(tmp_path, counter):
    path, signals = write_manifest(tmp_path, [500])
    dataset = mixture_dataset(path, 2, RATE, crop=100, epoch_counter=counter)
    found = starts(dataset, signals, 100, range(20), counter)
    assert len(set(found)) > 10


def test_crop_can_start_anywhere(tmp_path, counter):
    path, signals = write_manifest(tmp_path, [12])
    dataset = mixture_dataset(path, 2, RATE, crop=10, epoch_counter=counter)
    found = starts(dataset, signals, 10, range(300), counter)
    assert set(found) == {0, 1, 2}
    assert all(abs(found.count(n) - 100) < 4 * 67**0.5 for n in range(3))


def test_crop_is_of_the_seed_the_epoch_and_the_id(tmp_path, counter):
    """And of nothing else, such as what was drawn before."""
    path, signals = write_manifest(tmp_path, [700] * 6)

    def crops(epochs, seed=7, **options):
        options = {"epoch_counter": counter, **options}
        dataset = mixture_dataset(path, 2, RATE, crop=100, seed=seed, **options)
        return starts(dataset, signals, 100, epochs, counter)

    first = crops([1])
    assert crops([1]) == first
    assert crops([2, 1])[6:] == first
    assert len(set(first)) > 3
    for other in (crops([2]), crops([1], seed=8)):
        assert sum(a == b for a, b in zip(first, other, strict=True)) < 2
    without = crops([1, 2], epoch_counter=None)
    assert without[:6] == without[6:] == crops([0])


def test_crop_is_the_same_in_any_manifest(tmp_path, counter):
    """It goes by the ID, not by the place in the list."""
    path, signals = write_manifest(tmp_path, [700] * 3)

    def crops():
        dataset = mixture_dataset(
            path, 2, RATE, crop=100, epoch_counter=counter
        )
        return starts(dataset, signals, 100, [1], counter)

    whole = crops()
    header, _, *rest = path.read_text().splitlines()
    path.write_text("\n".join([header, *reversed(rest)]) + "\n")
    assert crops() == whole[:0:-1]


def test_only_training_is_cropped(tmp_path, counter):
    path, signals = write_manifest(tmp_path, [500])
    sets = mixture_datasets(
        {"train": path, "valid": path, "test": path},
        training_crop=100,
        num_spks=2,
        sample_rate=RATE,
        epoch_counter=counter,
        seed=3,
    )
    lengths = {name: len(d[0]["mixture"]) for name, d in sets.items()}
    assert lengths == {"train": 100, "valid": 500, "test": 500}
    options = {"crop": 100, "seed": 3}
    wanted = mixture_dataset(path, 2, RATE, **options)[0]
    assert torch.equal(together(sets["train"][0]), together(wanted))


@pytest.mark.parametrize("crop", [500, 501, 4000])
def test_short_utterance_is_taken_whole(crop, tmp_path):
    path, signals = write_manifest(tmp_path, [500])
    dataset = mixture_dataset(path, 2, RATE, crop=crop)
    wanted = without_rumble(signals["mix0"].numpy(), RATE)
    assert np.array_equal(together(dataset[0]).numpy(), wanted)


@pytest.mark.parametrize("crop", [None, 4000])
def test_an_offset_is_not_in_the_mixture(crop, tmp_path):
    """Nor in targets; what is scored against stays as it is."""
    path, signals = write_manifest(tmp_path, [4000])
    offset = signals["mix0"] + 0.1
    for k, wave in enumerate(offset.numpy()):
        write_wav(tmp_path / f"mix0_{k}.wav", wave, RATE)
    (item,) = mixture_dataset(path, 2, RATE, crop=crop)
    wanted = without_rumble(signals["mix0"].numpy(), RATE)
    if crop is None:
        wanted[1:] = offset[1:]
    # Written in steps of 16 bits
    assert np.abs(together(item).numpy() - wanted).max() < 1e-4


@pytest.mark.parametrize("crop", [None, 100])
def test_bad_file_is_named(crop, tmp_path):
    path, _ = write_manifest(tmp_path, [500])
    (tmp_path / "mix0_2.wav").write_bytes(b"nothing")
    with refused("mix0_2.wav"):
        mixture_dataset(path, 2, RATE, crop)[0]
