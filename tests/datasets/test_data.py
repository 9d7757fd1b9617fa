"""Batches hold what the manifest lists, and new mixtures of it."""

import csv
import math
import types

import numpy as np
import pytest
import torch
from speechbrain.dataio.batch import PaddedBatch

from dpcl_dprnn.common.audio import write_wav
from dpcl_dprnn.common.errors import UserError
from dpcl_dprnn.datasets.files import (
    RandomMixing,
    mixture_dataset,
    mixture_datasets,
)

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


@pytest.mark.parametrize("num_spks", [2, 3])
def test_items_are_the_files_of_the_manifest(num_spks, tmp_path):
    path, signals = write_manifest(tmp_path, [500, 800, 1], num_spks)
    dataset = mixture_dataset(path, num_spks, RATE)
    assert sorted(item["id"] for item in dataset) == ["mix0", "mix1", "mix2"]
    for item in dataset:
        assert set(item) == {"id", "mixture", "sources"}
        assert item["mixture"].dtype == item["sources"].dtype == torch.float32
        assert torch.equal(together(item), signals[item["id"]])


def test_a_source_without_a_path_is_silent(tmp_path):
    """A mixture of two among mixtures of three."""
    path, signals = write_manifest(tmp_path, [500, 800], num_spks=3)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(str(tmp_path / "mix0_3.wav"), ""))
    first, second = mixture_dataset(path, 3, RATE)
    assert torch.equal(together(first)[:3], signals["mix0"][:3])
    assert not first["sources"][:, 2].any()
    assert torch.equal(together(second), signals["mix1"])


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
            same = (pieces == together(item)).all(dim=(1, 2))
            (start,) = same.nonzero().flatten().tolist()
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
    options = {"crop": 100, "epoch_counter": counter}
    whole = starts(
        *(mixture_dataset(path, 2, RATE, **options), signals, 100, [1], counter)
    )
    header, _, *rest = path.read_text().splitlines()
    path.write_text("\n".join([header, *reversed(rest)]) + "\n")
    part = starts(
        *(mixture_dataset(path, 2, RATE, **options), signals, 100, [1], counter)
    )
    assert part == whole[:0:-1]


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
    assert torch.equal(together(dataset[0]), signals["mix0"])


@pytest.mark.parametrize("crop", [None, 100])
def test_bad_file_is_named(crop, tmp_path):
    path, _ = write_manifest(tmp_path, [500])
    (tmp_path / "mix0_2.wav").write_bytes(b"nothing")
    with pytest.raises(UserError, match="mix0_2.wav"):
        mixture_dataset(path, 2, RATE, crop)[0]


# RandomMixing


def test_nothing_to_change(device):
    sources = torch.randn(3, 2, 400, device=device)
    lengths = torch.tensor([400, 100, 1], device=device)
    mixture, got, got_lengths = RandomMixing(RATE)(
        sources.sum(dim=1), sources, lengths
    )
    assert torch.equal(got_lengths, lengths)
    for index, length in enumerate(lengths.tolist()):
        expected = sources[index, :, :length]
        assert torch.equal(got[index, :, :length], expected)
        assert torch.equal(mixture[index, :length], expected.sum(dim=0))
        assert not got[index, :, length:].any()
        assert not mixture[index, length:].any()


OPTIONS = [
    {"speeds": [80, 100, 120]},
    {"shuffle": True},
    {"gain_db": 5.0},
    {"speeds": [80, 120], "shuffle": True, "gain_db": 5.0},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("num_spks", [2, 3])
def test_mixture_is_the_sum_and_ends_with_its_length(options, num_spks, device):
    mixing = RandomMixing(RATE, **options)
    given = torch.randn(4, num_spks, 1000, device=device)
    given_lengths = torch.tensor([1000, 600, 300, 1], device=device)
    for seed in range(10):
        torch.manual_seed(seed)
        mixture, sources, lengths = mixing(
            given.sum(dim=1), given, given_lengths
        )
        assert sources.shape == (4, num_spks, mixture.shape[-1])
        torch.testing.assert_close(mixture, sources.sum(dim=1))
        assert ((1 <= lengths) & (lengths <= mixture.shape[-1])).all()
        for index, length in enumerate(lengths.tolist()):
            assert not sources[index, :, length:].any()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_seed_decides_and_arguments_stay(options, device):
    mixing = RandomMixing(RATE, **options)
    sources = torch.randn(4, 2, 300, device=device)
    lengths = torch.tensor([300, 200, 100, 50], device=device)
    before = sources.clone(), lengths.clone()
    results = []
    for seed in (1, 1, 2, 3, 4):
        torch.manual_seed(seed)
        results.append(mixing(sources.sum(dim=1), sources, lengths)[0])
    assert torch.equal(results[0], results[1])
    assert any(
        other.shape != results[0].shape or not torch.equal(other, results[0])
        for other in results[2:]
    )
    assert torch.equal(sources, before[0])
    assert torch.equal(lengths, before[1])


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_noise_of_the_mixture_stays(options, device):
    mixing = RandomMixing(RATE, **options)
    sources = torch.randn(4, 2, 1000, device=device)
    noise = torch.randn(4, 1000, device=device)
    lengths = torch.tensor([1000, 600, 300, 1], device=device)
    mixture, got, got_lengths = mixing(
        sources.sum(dim=1) + noise, sources, lengths
    )
    for index, length in enumerate(got_lengths.tolist()):
        rest = (mixture - got.sum(dim=1))[index]
        common = min(length, 1000)
        torch.testing.assert_close(
            rest[:common], noise[index, :common], atol=1e-5, rtol=0
        )
        torch.testing.assert_close(
            rest[common:], torch.zeros_like(rest[common:]), atol=1e-5, rtol=0
        )


def test_shuffle_deals_each_position_anew(device):
    """Position k of the mixtures is a permutation of the batch's k-th."""
    number = torch.arange(1.0, 16, device=device).reshape(5, 3, 1)
    sources = number.expand(5, 3, 100)
    lengths = torch.tensor([100, 90, 80, 70, 60], device=device)
    length_of = dict(zip(range(5), lengths.tolist(), strict=True))
    mixing = RandomMixing(RATE, shuffle=True)
    orders = set()
    for _ in range(10):
        _, got, got_lengths = mixing(sources.sum(dim=1), sources, lengths)
        origin = ((got[..., 0] - 1) // 3).long()  # the mixture it came from
        position = ((got[..., 0] - 1) % 3).long()
        assert (position == torch.arange(3, device=device)).all()
        assert (origin.sort(dim=0).values.T == torch.arange(5).to(device)).all()
        for row, length in zip(origin.tolist(), got_lengths, strict=True):
            assert length == min(length_of[index] for index in row)
        orders.add(tuple(map(tuple, origin.T.tolist())))
    assert len(orders) > 5
    assert all(len(set(order)) > 1 for order in orders)  # new companions


def test_gains_are_spread_over_their_range(device):
    sources = torch.ones(500, 2, 3, device=device)
    lengths = torch.full((500,), 3, device=device)
    _, got, _ = RandomMixing(RATE, gain_db=3.0)(
        sources.sum(dim=1), sources, lengths
    )
    decibels = 20 * got[..., 0].log10()
    assert (got == got[..., :1]).all()
    assert decibels.abs().max() <= 3 + 1e-4
    assert decibels.min() < -2.8
    assert decibels.max() > 2.8
    assert decibels.mean().abs() < 0.3
    assert (decibels[:, 0] - decibels[:, 1]).abs().max() > 3


@pytest.mark.parametrize("speed", [50, 80, 125])
def test_speed_changes_length_and_pitch(speed, device):
    """A tone of 400 Hz at 80 % lasts 1 / 0.8 as long and has 320 Hz."""
    time = torch.arange(4000, device=device) / RATE
    tone = torch.sin(2 * torch.pi * 400 * time)
    lengths = torch.tensor([4000, 1000], device=device)
    sources = tone.expand(2, 2, 4000) * (
        torch.arange(4000, device=device) < lengths[:, None, None]
    )
    _, got, got_lengths = RandomMixing(RATE, [speed])(
        sources.sum(dim=1), sources, lengths
    )
    ratio = 100 / speed
    expected = ratio * torch.tensor([4000.0, 1000.0])
    assert (got_lengths.cpu() - expected).abs().max() <= 1
    assert abs(got.shape[-1] - 4000 * ratio) <= 1
    assert got_lengths[0] == got.shape[-1]
    for index, length in enumerate(got_lengths.tolist()):
        spectrum = torch.fft.rfft(got[index, 0, :length], n=RATE).abs()
        assert abs(spectrum.argmax().item() - 400 * speed / 100) <= 2


def test_positions_get_speeds_of_their_own(device):
    """The fastest source ends the mixture."""
    mixing = RandomMixing(RATE, [50, 100])
    sources = torch.randn(2, 2, 1000, device=device)
    lengths = torch.tensor([1000, 1000], device=device)
    seen = set()
    for _ in range(30):
        _, got, got_lengths = mixing(sources.sum(dim=1), sources, lengths)
        unchanged = tuple(
            torch.equal(got[:, k], sources[:, k, : got.shape[-1]])
            for k in range(2)
        )
        assert got_lengths.tolist() == [1000 if any(unchanged) else 2000] * 2
        seen.add(unchanged)
    assert len(seen) == 4


@pytest.mark.parametrize("speeds", [[88, 94, 100, 106, 112], [100]])
def test_mixtures_are_cut_to_the_longest_wanted(speeds, device):
    """Whatever the speeds; of that many samples and their spare all fill it."""
    mixing = RandomMixing(RATE, speeds, gain_db=1.0)
    mixing.longest = 797
    assert mixing.spare == max(speeds) / 100
    for spare, shortest in ((mixing.spare, 797), (0.5, 356)):
        samples = math.ceil(797 * spare)
        sources = torch.randn(2, 2, samples, device=device)
        lengths = torch.tensor([samples, samples], device=device)
        noise = torch.randn(2, samples, device=device)
        for _ in range(10):
            mixture, got, got_lengths = mixing(
                sources.sum(dim=1) + noise, sources, lengths
            )
            assert shortest <= got.shape[-1] <= 797
            assert got_lengths.tolist() == [got.shape[-1]] * 2
            assert mixture.shape == (2, got.shape[-1])
