"""Losses agree with their definitions, written out at full length."""

import itertools

import numpy as np
import pytest
import torch

from dpcl_dprnn.model.losses import (
    dpcl_loss,
    pairwise_si_snr,
    pit_si_snr_loss,
    whitened_dpcl_loss,
)

SPEAKERS = pytest.mark.parametrize("num_spks", [2, 3])
DPCL_LOSSES = pytest.mark.parametrize("loss", [dpcl_loss, whitened_dpcl_loss])


def unit(*shape):
    return torch.nn.functional.normalize(torch.randn(shape), dim=-1)


def one_hot(num_spks, batch, frames, bins):
    labels = torch.randint(num_spks, (batch, frames, bins))
    return torch.nn.functional.one_hot(labels, num_spks).float()


def balanced(num_spks, frames=6, bins=50):
    """Targets with as many bins for each speaker, and equal weights."""
    labels = torch.arange(frames * bins).reshape(1, frames, bins) % num_spks
    targets = torch.nn.functional.one_hot(labels, num_spks).float()
    return targets, torch.ones(1, frames, bins)


def explicit(embeddings, targets, weights):
    """sqrt(w) V and sqrt(w) Y of one utterance in float64, [N, D], [N, C]."""
    w = weights.double().flatten()
    root = (w / w.sum()).sqrt().unsqueeze(-1)
    return tuple(
        root * x.double().flatten(0, -2) for x in (embeddings, targets)
    )


def affinity_error(*utterance):
    v, y = explicit(*utterance)
    return (v @ v.T - y @ y.T).square().sum()


def projections(*utterance):
    """tr(P_V P_Y), P the projections on the columns of V and Y."""
    v, y = explicit(*utterance)
    return ((v @ torch.linalg.pinv(v)) @ (y @ torch.linalg.pinv(y))).trace()


# Deep clustering


@SPEAKERS
def test_dpcl_is_the_weighted_affinity_error(num_spks, device):
    embeddings, targets = unit(3, 4, 9, 5), one_hot(num_spks, 3, 4, 9)
    weights = torch.rand(3, 4, 9) * (torch.rand(3, 4, 9) > 0.3)
    arguments = (embeddings, targets, weights)
    utterances = zip(*arguments, strict=True)
    expected = torch.stack([affinity_error(*each) for each in utterances])
    loss = dpcl_loss(*(x.to(device) for x in arguments))
    torch.testing.assert_close(loss.cpu(), expected.float())


@SPEAKERS
@pytest.mark.parametrize(
    "loss, definition",
    [
        (dpcl_loss, lambda *utterance: affinity_error(*utterance)),
        (
            lambda *batch: whitened_dpcl_loss(*batch, ridge=0),
            lambda *utterance: 5 - projections(*utterance),
        ),
    ],
    ids=["dpcl", "whitened"],
)
def test_gradient_is_that_of_the_definition(loss, definition, num_spks, device):
    embeddings, targets = unit(3, 4, 9, 5), one_hot(num_spks, 3, 4, 9)
    weights = torch.rand(3, 4, 9) + 0.1
    expected = embeddings.clone().requires_grad_()
    for utterance in zip(expected, targets, weights, strict=True):
        definition(*utterance).backward()
    arguments = [x.to(device) for x in (embeddings, targets, weights)]
    arguments[0].requires_grad_()
    loss(*arguments).sum().backward()
    torch.testing.assert_close(
        arguments[0].grad.cpu(), expected.grad, atol=2e-6, rtol=1e-4
    )


def anchors(num_spks, device):
    """Balanced speakers, their perfect embeddings (D = 8) and equal ones."""
    targets, weights = (x.to(device) for x in balanced(num_spks))
    perfect = torch.zeros(1, 6, 50, 8, device=device)
    perfect[..., :num_spks] = targets
    equal = unit(8).to(device).expand(1, 6, 50, 8)
    return targets, weights, perfect, equal


@SPEAKERS
def test_dpcl_anchors(num_spks, device):
    targets, weights, perfect, equal = anchors(num_spks, device)
    random = unit(1, 6, 50, 8).to(device)
    for embeddings, expected, tolerance in (
        (perfect, 0, 1e-6),
        (equal, 1 - 1 / num_spks, 1e-5),
        (random, 1 / 8 + 1 / num_spks, 0.02),
    ):
        loss = dpcl_loss(embeddings, targets, weights).item()
        assert loss == pytest.approx(expected, abs=tolerance)


@SPEAKERS
def test_whitened_dpcl_is_a_trace_of_projections(num_spks, device):
    embeddings, targets = unit(3, 4, 9, 5), one_hot(num_spks, 3, 4, 9)
    weights = torch.rand(3, 4, 9) + 0.1
    arguments = (embeddings, targets, weights)
    utterances = zip(*arguments, strict=True)
    expected = torch.stack([5 - projections(*each) for each in utterances])
    expected = expected.float()
    on_device = [x.to(device) for x in arguments]
    exact = whitened_dpcl_loss(*on_device, ridge=0).cpu()
    torch.testing.assert_close(exact, expected, atol=1e-4, rtol=0)
    default = whitened_dpcl_loss(*on_device).cpu()
    torch.testing.assert_close(default, expected, atol=1e-2, rtol=0)


@SPEAKERS
def test_whitened_dpcl_lies_between_its_bounds(num_spks, device):
    targets, weights, perfect, equal = anchors(num_spks, device)
    for embeddings, expected in (
        (perfect, 8 - num_spks),
        (equal, 7),
        (0 * perfect, 8),
    ):
        loss = whitened_dpcl_loss(embeddings, targets, weights).item()
        assert loss == pytest.approx(expected, abs=2e-3)
    loss = whitened_dpcl_loss(unit(1, 6, 50, 8).to(device), targets, weights)
    assert 8 - num_spks < loss < 8


def test_whitened_dpcl_is_invariant_under_linear_maps(device):
    targets, weights = (x.to(device) for x in balanced(2))
    embeddings = unit(1, 6, 50, 5).to(device)
    linear = torch.eye(5) + 0.3 * torch.randn(5, 5)
    mapped = embeddings @ linear.to(device)
    one, other = (
        whitened_dpcl_loss(x, targets, weights, ridge=1e-7)
        for x in (embeddings, mapped)
    )
    torch.testing.assert_close(one, other, atol=1e-3, rtol=0)


def test_whitened_dpcl_of_an_absent_speaker_is_finite(device):
    """C is given by the targets' axis, not by who is heard."""
    targets, weights = balanced(2)
    targets = torch.nn.functional.pad(targets, (0, 1)).to(device)
    embeddings = unit(1, 6, 50, 5).to(device).requires_grad_()
    loss = whitened_dpcl_loss(embeddings, targets, weights.to(device))
    loss.sum().backward()
    assert 5 - 2 < loss < 5
    assert embeddings.grad.isfinite().all()


@DPCL_LOSSES
def test_dpcl_depends_on_relative_weights_of_active_bins_only(loss, device):
    embeddings, targets = unit(2, 4, 9, 5), one_hot(2, 2, 4, 9)
    weights = torch.rand(2, 4, 9) * (torch.rand(2, 4, 9) > 0.5)
    expected = loss(*(x.to(device) for x in (embeddings, targets, weights)))
    embeddings[weights == 0] = unit(5)
    targets[weights == 0] = 0
    changed = (embeddings, targets, 1e-4 * weights)
    got = loss(*(x.to(device) for x in changed))
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@DPCL_LOSSES
def test_dpcl_is_fp32_under_autocast(loss, device):
    embeddings, targets = unit(2, 4, 50, 5), one_hot(2, 2, 4, 50)
    weights = torch.rand(2, 4, 50)
    arguments = [x.to(device) for x in (embeddings, targets, weights)]
    expected = loss(*arguments)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        got = loss(*arguments)
    assert got.dtype == torch.float32
    assert torch.equal(got, expected)


@DPCL_LOSSES
def test_dpcl_of_silence_is_zero_with_finite_gradients(loss, device):
    weights = torch.ones(2, 4, 9)
    weights[0] = 0
    targets = one_hot(2, 2, 4, 9)
    targets[0] = 0
    embeddings = unit(2, 4, 9, 5).to(device).requires_grad_()
    values = loss(embeddings, targets.to(device), weights.to(device))
    values.sum().backward()
    assert values[0] == 0
    assert values[1] > 0
    assert embeddings.grad.isfinite().all()
    assert not embeddings.grad[0].any()


# SI-SNR and permutation-invariant training


def numpy_si_snr(estimate, source):
    estimate, source = estimate - estimate.mean(), source - source.mean()
    target = estimate @ source / (source @ source) * source
    noise = estimate - target
    return 10 * np.log10((target @ target) / (noise @ noise))


def noisy(sources, order, level=0.3):
    """Estimates of the sources in another order."""
    estimates = sources[:, order] + level * torch.randn_like(sources)
    return estimates - 0.1 * sources.roll(1, dims=1) + 0.05


@pytest.mark.parametrize("decibels", [-30, -10, 0, 10, 25, 40])
@pytest.mark.parametrize("scale", [1e-2, 1, 1e3])
def test_si_snr_of_orthogonal_noise_is_its_level(decibels, scale, device):
    basis = torch.randn(800, 3, dtype=torch.float64)
    basis[:, 0] = 1  # the mean
    basis, _ = torch.linalg.qr(basis)
    source = 20 * basis[:, 1]
    noise = 20 * 10 ** (-decibels / 20) * basis[:, 2]
    estimate = scale * (source + noise + 0.3)
    pair = (x.float().reshape(1, 1, -1).to(device) for x in (estimate, source))
    assert pairwise_si_snr(*pair).item() == pytest.approx(decibels, abs=0.02)


def test_si_snr_ignores_scale_and_offset(device):
    sources = torch.randn(2, 3, 500).to(device)
    estimates = noisy(sources, [0, 1, 2])
    expected = pairwise_si_snr(estimates, sources)
    got = pairwise_si_snr(-70 * estimates + 5, 0.01 * sources - 1)
    torch.testing.assert_close(got, expected, atol=1e-2, rtol=0)


@pytest.mark.parametrize(
    "estimate_scale, source_scale", [(1e-4, 1), (1e-6, 1), (1, 1e-4)]
)
def test_quiet_signals_score_as_loud_ones(estimate_scale, source_scale, device):
    """A decoder is free to choose its scale: SI-SNR does not see it."""
    sources = torch.randn(1, 2, 8000).to(device)
    estimates = noisy(sources, [0, 1], level=0.02)
    expected = pairwise_si_snr(estimates, sources)
    got = pairwise_si_snr(estimate_scale * estimates, source_scale * sources)
    torch.testing.assert_close(got, expected, atol=0.02, rtol=0)


def test_silent_estimate_scores_no_better_than_an_unrelated_one(device):
    """Or else a head could gain by falling silent."""
    source = torch.randn(1, 1, 8000).to(device)
    unrelated = pairwise_si_snr(torch.randn_like(source), source)
    silent = pairwise_si_snr(torch.zeros_like(source), source)
    assert silent.isfinite().all()
    assert silent <= unrelated


@pytest.mark.parametrize("num_spks", [1, 2, 3, 4, 5])
def test_pit_is_the_best_of_all_permutations(num_spks, device):
    """Against brute force over estimates cut to their lengths."""
    batch, lengths = 5, torch.tensor([300, 180, 37, 299, 300])
    sources = torch.randn(batch, num_spks, 300) + 0.2
    estimates = noisy(sources, torch.randperm(num_spks), level=2.0)
    loss, permutation = pit_si_snr_loss(
        *(x.to(device) for x in (estimates, sources, lengths))
    )
    for index, length in enumerate(lengths.tolist()):
        e = estimates[index, :, :length].double().numpy()
        s = sources[index, :, :length].double().numpy()
        totals = {
            order: sum(map(numpy_si_snr, e[list(order)], s))
            for order in itertools.permutations(range(num_spks))
        }
        best = max(totals, key=totals.get)
        assert tuple(permutation[index].tolist()) == best
        expected = -totals[best] / num_spks
        assert loss[index].item() == pytest.approx(expected, abs=1e-3)


def test_contents_of_padding_do_not_matter(device):
    lengths = torch.tensor([250, 120]).to(device)
    sources = torch.randn(2, 2, 250).to(device)
    estimates = noisy(sources, [1, 0])
    expected, _ = pit_si_snr_loss(estimates, sources, lengths)
    for junk in (0.0, 1e4):
        estimates[1, :, 120:] = sources[1, :, 120:] = junk
        got, _ = pit_si_snr_loss(estimates, sources, lengths)
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)
    alone, _ = pit_si_snr_loss(estimates[1:, :, :120], sources[1:, :, :120])
    torch.testing.assert_close(alone, expected[1:], atol=1e-4, rtol=0)


def test_arguments_are_not_changed(device):
    lengths = torch.tensor([250, 120]).to(device)
    sources = torch.randn(2, 2, 250).to(device)
    estimates = torch.randn(2, 2, 250).to(device)
    before = [x.clone() for x in (estimates, sources, lengths)]
    pit_si_snr_loss(estimates, sources, lengths)
    targets, weights = (x.to(device) for x in balanced(2))
    embeddings = unit(1, 6, 50, 5).to(device)
    before += [x.clone() for x in (embeddings, targets, weights)]
    dpcl_loss(embeddings, targets, weights)
    whitened_dpcl_loss(embeddings, targets, weights)
    after = [estimates, sources, lengths, embeddings, targets, weights]
    assert all(map(torch.equal, after, before))


def test_silent_sources_do_not_count(device):
    sources = torch.randn(2, 2, 400).to(device)
    estimates = noisy(sources, [1, 0])
    sources[0, 0] = 0.1  # constant: silent but for its mean
    sources[1] = 0
    loss, permutation = pit_si_snr_loss(estimates, sources)
    e, s = estimates[0].double().cpu(), sources[0, 1].double().cpu()
    best = max(numpy_si_snr(x.numpy(), s.numpy()) for x in e)
    assert loss[0].item() == pytest.approx(-best, abs=1e-3)
    assert permutation[0].tolist() == [1, 0]
    assert loss[1] == 0


def test_gradients_are_finite_on_degenerate_items(device):
    """Silent sources or estimates, one sample, perfect estimates."""
    sources = torch.randn(6, 2, 50)
    estimates = torch.randn(6, 2, 50)
    sources[0] = 0
    sources[1, 0] = 0
    estimates[2] = 0
    estimates[3] = sources[3]
    lengths = torch.tensor([50, 50, 50, 50, 1, 50])
    estimates = estimates.to(device).requires_grad_()
    loss, _ = pit_si_snr_loss(estimates, sources.to(device), lengths.to(device))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert estimates.grad.isfinite().all()
    assert estimates.grad[5].any()
    assert loss[4] == 0
    assert not estimates.grad[4].any()


def test_pit_is_fp32_under_autocast(device):
    sources = torch.randn(2, 2, 400).to(device)
    estimates = noisy(sources, [1, 0], level=0.01)
    expected, _ = pit_si_snr_loss(estimates, sources)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        got, _ = pit_si_snr_loss(estimates, sources)
    assert torch.equal(got, expected)
