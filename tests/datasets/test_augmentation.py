"""New mixtures out of a batch."""

import math

import pytest
import torch

from dpcl_dprnn.datasets.augmentation import RandomMixing

RATE = 8000


def mixed(mixing, sources, lengths, noise=0):
    """What is made of a batch, of sources and perhaps of noise."""
    return mixing(sources.sum(dim=1) + noise, sources, lengths)


def test_nothing_to_change(device):
    sources = torch.randn(3, 2, 400, device=device)
    lengths = torch.tensor([400, 100, 1], device=device)
    mixture, got, got_lengths = mixed(RandomMixing(RATE), sources, lengths)
    assert torch.equal(got_lengths, lengths)
    for index, length in enumerate(lengths.tolist()):
        expected = sources[index, :, :length]
        assert torch.equal(got[index, :, :length], expected)
        assert torch.equal(mixture[index, :length], expected.sum(dim=0))
        assert not got[index, :, length:].any()
        assert not mixture[index, length:].any()


OPTIONS = [
    {"batch_speeds": [80, 100, 120]},
    {"shuffle": True},
    {"source_gain_db": 5.0},
    {"batch_speeds": [80, 120], "shuffle": True, "source_gain_db": 5.0},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("num_spks", [2, 3])
def test_mixture_is_the_sum_and_ends_with_its_length(options, num_spks, device):
    mixing = RandomMixing(RATE, **options)
    given = torch.randn(4, num_spks, 1000, device=device)
    given_lengths = torch.tensor([1000, 600, 300, 1], device=device)
    for seed in range(10):
        torch.manual_seed(seed)
        mixture, sources, lengths = mixed(mixing, given, given_lengths)
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
        results.append(mixed(mixing, sources, lengths)[0])
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
    mixture, got, got_lengths = mixed(mixing, sources, lengths, noise)
    for index, length in enumerate(got_lengths.tolist()):
        rest = (mixture - got.sum(dim=1))[index]
        expected, common = torch.zeros_like(rest), min(length, 1000)
        expected[:common] = noise[index, :common]
        torch.testing.assert_close(rest, expected, atol=1e-5, rtol=0)


def test_shuffle_deals_each_position_anew(device):
    """Position k of the mixtures is a permutation of the batch's k-th."""
    number = torch.arange(1.0, 16, device=device).reshape(5, 3, 1)
    sources = number.expand(5, 3, 100)
    lengths = torch.tensor([100, 90, 80, 70, 60], device=device)
    length_of = dict(zip(range(5), lengths.tolist(), strict=True))
    mixing = RandomMixing(RATE, shuffle=True)
    orders = set()
    for _ in range(10):
        _, got, got_lengths = mixed(mixing, sources, lengths)
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
    mixing = RandomMixing(RATE, source_gain_db=3.0)
    _, got, _ = mixed(mixing, sources, lengths)
    decibels = 20 * got[..., 0].log10()
    assert (got == got[..., :1]).all()
    assert -3.0001 <= decibels.min() < -2.8 < 2.8 < decibels.max() <= 3.0001
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
    mixing = RandomMixing(RATE, [speed])
    _, got, got_lengths = mixed(mixing, sources, lengths)
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
        _, got, got_lengths = mixed(mixing, sources, lengths)
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
    mixing = RandomMixing(RATE, speeds, source_gain_db=1.0)
    mixing.longest = 797
    assert mixing.spare == max(speeds) / 100
    for spare, shortest in ((mixing.spare, 797), (0.5, 356)):
        samples = math.ceil(797 * spare)
        sources = torch.randn(2, 2, samples, device=device)
        lengths = torch.tensor([samples, samples], device=device)
        noise = torch.randn(2, samples, device=device)
        for _ in range(10):
            mixture, got, got_lengths = mixed(mixing, sources, lengths, noise)
            assert shortest <= got.shape[-1] <= 797
            assert got_lengths.tolist() == [got.shape[-1]] * 2
            assert mixture.shape == (2, got.shape[-1])
