"""Waveforms in, waveforms out, each as if it were alone."""

import itertools

import pytest
import torch
from refusals import refused
from speechbrain.lobes.models.dual_path import SBRNNBlock
from speechbrain.utils.checkpoints import Checkpointer

from dpcl_dprnn.common.precision import use_tf32
from dpcl_dprnn.model.encoders import (
    LearnedDecoder,
    LearnedEncoder,
    STFTDecoder,
    STFTEncoder,
)
from dpcl_dprnn.model.networks import (
    BLSTMSeparator,
    DualPathSeparator,
    EmbeddingHead,
)
from dpcl_dprnn.model.separator import Separator, load_pretrained, stack
from dpcl_dprnn.model.targets import bin_weights, dominant_source

N_FFT, HOP, BINS = 64, 16, 33


def stft_pair():
    return STFTEncoder(N_FFT, HOP), STFTDecoder(N_FFT, HOP)


def dual_path(filters, num_spks, head=None):
    return DualPathSeparator(
        in_channels=filters,
        out_channels=8,
        intra_model=SBRNNBlock(8, 6, num_layers=1, bidirectional=True),
        inter_model=SBRNNBlock(8, 6, num_layers=1, bidirectional=True),
        num_layers=2,
        K=10,
        num_spks=num_spks,
        embedding_head=head,
    )


def build(system, device, num_spks=2):
    """A small separator of each kind, and the bins of its grid."""
    if system == "stft grid":  # as dpcl_dprnn.yaml
        head = EmbeddingHead(8, bins=BINS, size=4, pool=HOP // 8)
        parts = LearnedEncoder(16, 12), dual_path(12, num_spks, head)
        separator = Separator(*parts, LearnedDecoder(16, 12), *stft_pair())
    elif system == "learned grid":
        head = EmbeddingHead(8, bins=12, size=4)
        parts = LearnedEncoder(16, 12), dual_path(12, num_spks, head)
        separator = Separator(*parts, LearnedDecoder(16, 12))
    elif system == "stft":  # as dpcl_dprnn_stft.yaml
        head = EmbeddingHead(8, bins=BINS, size=4)
        encoder, decoder = stft_pair()
        separator = Separator(encoder, dual_path(BINS, num_spks, head), decoder)
    elif system == "masks":  # as dprnn.yaml
        parts = LearnedEncoder(16, 12), dual_path(12, num_spks)
        separator = Separator(*parts, LearnedDecoder(16, 12))
    elif system == "embeddings":  # as dpcl.yaml
        head = EmbeddingHead(12, bins=BINS, size=4)
        encoder, decoder = stft_pair()
        model = BLSTMSeparator(BINS, head, 6, num_layers=1, dropout=0.0)
        separator = Separator(encoder, model, decoder)
    return separator.to(device).eval()


SYSTEMS = ["stft grid", "learned grid", "stft", "masks", "embeddings"]
EVERY_SYSTEM = pytest.mark.parametrize("system", SYSTEMS)
WITH_EMBEDDINGS = pytest.mark.parametrize(
    "system", [s for s in SYSTEMS if s != "masks"]
)
SPEAKERS = pytest.mark.parametrize("num_spks", [2, 3])


@EVERY_SYSTEM
@SPEAKERS
def test_shapes_from_one_sample_up(system, num_spks, device):
    separator = build(system, device, num_spks)
    bins = 12 if system == "learned grid" else BINS
    for length in (1, 2, 15, 16, 17, 64, 500):
        x = torch.randn(2, length, device=device)
        estimates, embeddings = separator(x)
        if system == "embeddings":
            assert estimates is None
        else:
            assert estimates.shape == (2, num_spks, length)
            assert estimates.isfinite().all()
        if system == "masks":
            assert embeddings is None
        else:
            frames = separator.grid_encoder.frames(length)
            assert embeddings.shape == (2, frames, bins, 4)
            assert embeddings.isfinite().all()


@EVERY_SYSTEM
def test_silence_is_separated_into_finite_numbers(system, device):
    separator = build(system, device)
    for result in separator(torch.zeros(1, 200, device=device)):
        assert result is None or result.isfinite().all()


@EVERY_SYSTEM
@torch.no_grad()
def test_separate_each_is_a_batch_of_one_for_each(system, device):
    separator = build(system, device)
    lengths = (500, 123, 1, 64, 123, 130)
    mixtures = [torch.randn(n, device=device) for n in lengths]
    mixtures = [x / x.abs().max() for x in mixtures]  # at their usual level
    results = separator.separate_each(mixtures)
    assert len(results) == len(lengths)
    for mixture, result in zip(mixtures, results, strict=True):
        alone = separator(mixture[None])
        for got, expected in zip(result, alone, strict=True):
            assert (got is None) == (expected is None)
            if got is not None:
                torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)


@EVERY_SYSTEM
@pytest.mark.parametrize("gain", [1e-4, 100.0])
@torch.no_grad()
def test_the_level_makes_no_difference(gain, system, device):
    separator = build(system, device)
    mixture = torch.randn(400, device=device)
    one, other = separator.separate_each([mixture, gain * mixture])
    if one.estimates is not None:
        expected = gain * one.estimates
        error = (other.estimates - expected).abs().max()
        assert error < 1e-5 * expected.abs().max()
    if one.embeddings is not None:
        torch.testing.assert_close(
            other.embeddings, one.embeddings, atol=1e-4, rtol=0
        )


@torch.no_grad()
def test_blocks_see_signals_of_as_many_chunks_together(device, monkeypatch):
    separator = build("stft grid", device)
    seen, blocks = [], separator.model.blocks
    monkeypatch.setattr(
        separator.model, "blocks", lambda x: seen.append(len(x)) or blocks(x)
    )
    lengths = (500, 497, 123, 499)
    separator.separate_each([torch.randn(n, device=device) for n in lengths])
    assert sorted(seen) == [1, 3]


@torch.no_grad()
def test_stack_pads_with_zeros(device):
    separator = build("stft grid", device)
    results = separator.separate_each(
        [torch.randn(n, device=device) for n in (100, 300)]
    )
    estimates, embeddings = stack(results)
    assert torch.equal(estimates[0, :, :100], results[0].estimates[0])
    assert torch.equal(estimates[1], results[1].estimates[0])
    assert not estimates[0, :, 100:].any()
    frames = results[0].embeddings.shape[1]
    assert torch.equal(embeddings[0, :frames], results[0].embeddings[0])
    assert not embeddings[0, frames:].any()


def test_identity_masks_give_the_mixture_back(device):
    """Of an STFT, whose decoder inverts its encoder."""

    class AllPass(torch.nn.Module):
        def forward(self, features, grid_frames):
            assert grid_frames == features.shape[-1]
            return features.new_ones(features.shape).unsqueeze(1), None

    encoder, decoder = stft_pair()
    separator = Separator(encoder, AllPass(), decoder).to(device)
    x = torch.randn(2, 333, device=device)
    estimates = separator(x).estimates
    torch.testing.assert_close(estimates[:, 0], x, atol=1e-5, rtol=0)


def test_estimates_are_fp32_under_autocast(device):
    separator = build("stft grid", device)
    x = torch.randn(2, 500, device=device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        estimates, embeddings = separator(x)
    assert estimates.dtype == embeddings.dtype == torch.float32
    expected = separator(x).estimates
    error = (estimates - expected).norm() / expected.norm()
    assert 0 < error < 0.1


@SPEAKERS
def test_dpcl_targets_are_those_of_the_grid(num_spks, device):
    separator = build("stft grid", device, num_spks)
    sources = torch.randn(2, num_spks, 300, device=device)
    mixture = sources.sum(dim=1)
    targets, weights = separator.dpcl_targets(mixture, sources, 30.0)
    stft = STFTEncoder(N_FFT, HOP).to(device)
    spectra = torch.stack([stft(s) for s in sources.unbind(1)], dim=1)
    assert torch.equal(targets, dominant_source(spectra))
    assert torch.equal(weights, bin_weights(stft(mixture), 30.0))


@WITH_EMBEDDINGS
@pytest.mark.parametrize("length", [1, 50, 1000])
@SPEAKERS
def test_kmeans_of_ideal_embeddings_is_the_ideal_binary_mask(
    system, length, num_spks, device
):
    separator = build(system, device, num_spks)
    sources = torch.randn(1, num_spks, length, device=device)
    mixture = sources.sum(dim=1)
    ideal, weights = separator.dpcl_targets(mixture, sources)
    got = separator.separate_kmeans(mixture, ideal, num_spks)
    assert got.shape == (1, num_spks, length)
    masks = ideal[0] * (weights[0] > 0).unsqueeze(-1)  # [L, F, C]
    encoded = separator.grid_encoder(mixture)
    masked = masks.permute(2, 1, 0) * encoded  # [C, F, L]
    expected = separator.grid_decoder(masked, length)
    errors = [
        (got[0, list(order)] - expected).abs().max().item()
        for order in itertools.permutations(range(num_spks))
    ]
    assert min(errors) < 1e-5


@WITH_EMBEDDINGS
@torch.no_grad()
def test_kmeans_of_the_models_own_embeddings(system, device):
    separator = build(system, device)
    for length in (1, 17, 400):
        mixture = torch.randn(1, length, device=device)
        embeddings = separator(mixture).embeddings
        for options in ({}, {"softness": 5.0, "inactive": "all"}):
            estimates = separator.separate_kmeans(
                mixture, embeddings, 2, 40.0, restarts=2, **options
            )
            assert estimates.shape == (1, 2, length)
            assert estimates.device.type == device.type
            assert estimates.isfinite().all()
        if "stft" in system:  # masks that sum to 1 give the mixture back
            total = estimates.sum(dim=1)
            torch.testing.assert_close(total, mixture, atol=0.1, rtol=0)


def test_kmeans_of_silence_is_silence(device):
    separator = build("stft", device)
    mixture = torch.zeros(1, 200, device=device)
    embeddings = separator(mixture).embeddings
    assert not separator.separate_kmeans(mixture, embeddings, 2).any()


@pytest.mark.parametrize(
    "argument", ["", "CKPT+best", "CKPT+best/separator.ckpt"], ids=repr
)
@EVERY_SYSTEM
def test_load_pretrained_round_trip(argument, system, tmp_path, device):
    """Of a folder of checkpoints the best is taken, not the newest."""
    trained, fresh = build(system, device), build(system, device)
    checkpointer = Checkpointer(tmp_path, {"separator": trained})
    checkpointer.save_checkpoint(meta={"loss": -1.0}, name="best")
    checkpointer.recoverables["separator"] = build(system, device)
    checkpointer.save_checkpoint(meta={"loss": 0.0}, name="newest")
    load_pretrained(fresh, tmp_path / argument)
    x = torch.randn(1, 200, device=device)
    for got, expected in zip(fresh(x), trained(x), strict=True):
        assert got is expected is None or torch.equal(got, expected)


@pytest.mark.parametrize("averaged", [False, True])
def test_load_pretrained_takes_the_first_outputs(averaged, tmp_path, device):
    more, fewer = (build("stft", device, num_spks=n) for n in (3, 2))
    state = more.state_dict()
    if averaged:
        torch.save({"average": state}, tmp_path / "averaged.ckpt")
        state = {name: torch.zeros_like(value) for name, value in state.items()}
    torch.save(state, tmp_path / "separator.ckpt")
    load_pretrained(fewer, tmp_path)
    x = torch.randn(1, 200, device=device)
    got, expected = fewer(x), more(x)
    torch.testing.assert_close(got.estimates, expected.estimates[:, :2])
    torch.testing.assert_close(got.embeddings, expected.embeddings)


def test_load_pretrained_of_fewer_outputs_is_refused(tmp_path, device):
    torch.save(build("stft", device).state_dict(), tmp_path / "separator.ckpt")
    with refused("does not fit"):
        load_pretrained(build("stft", device, num_spks=3), tmp_path)


@pytest.mark.parametrize("path", ["", "none", "none.ckpt"])
def test_load_pretrained_says_what_is_missing(path, tmp_path, device):
    with refused("no separator.ckpt"):
        load_pretrained(build("masks", device), tmp_path / path)


def test_load_pretrained_refuses_another_model(tmp_path, device):
    path = tmp_path / "separator.ckpt"
    for state in (build("stft", device).state_dict(), [1], {"a": 1}):
        torch.save(state, path)
        with refused("does not fit"):
            load_pretrained(build("masks", device), path)
    for content in (b"", b"garbage" * 100):
        path.write_bytes(content)
        with refused():
            load_pretrained(build("masks", device), path)


@pytest.mark.parametrize("pool", [1, 2])
def test_training_embeds_and_aims_at_every_second_frame(pool, device):
    """What training sees is every second frame of what evaluation sees."""
    head = EmbeddingHead(32, bins=129, size=4, pool=pool, training_stride=2)
    parts = {"encoder": STFTEncoder(), "decoder": STFTDecoder()}
    if pool > 1:  # frames of the trunk in one of the grid
        parts = {f"grid_{name}": part for name, part in parts.items()}
        parts["encoder"] = LearnedEncoder(128 // pool, 129)
        parts["decoder"] = LearnedDecoder(128 // pool, 129)
    model = BLSTMSeparator(129, head, hidden_size=16, num_layers=1)
    separator = Separator(model=model, **parts).to(device)
    sources = torch.randn(2, 2, 1000, device=device)
    mixture = sources.sum(dim=1)
    embedded, aimed_at = {}, {}
    for training in (True, False):
        separator.train(training)
        embedded[training] = separator(mixture).embeddings
        aimed_at[training] = separator.dpcl_targets(mixture, sources)
    torch.testing.assert_close(embedded[True], embedded[False][:, ::2])
    for half, whole in zip(aimed_at[True], aimed_at[False], strict=True):
        assert half.shape[:3] == embedded[True].shape[:3]
        # Weights: the loudest bin may be in a frame that is left out.
        torch.testing.assert_close(half * (whole[:, ::2] != 0), whole[:, ::2])


@EVERY_SYSTEM
def test_a_gpu_separates_as_the_cpu(system, device):
    if device.type == "cpu":
        pytest.skip("compares a GPU with the CPU: --device cuda")
    use_tf32(False)
    separator = build(system, "cpu")
    mixtures = [torch.randn(n) for n in (800, 555)]
    expected = separator.separate_each(mixtures)
    found = separator.to(device).separate_each([x.to(device) for x in mixtures])
    for one, other in zip(found, expected, strict=True):
        for part, same in zip(one, other, strict=True):
            if part is not None:
                torch.testing.assert_close(part.cpu(), same, atol=1e-5, rtol=0)
