"""Losses, clustering and scoring, each beside another's on the same input.

Each function makes what `turns.take_turns` takes, for `seconds` of audio, and
has a companion that compares what the entrants computed.
"""

import functools
import warnings

import contenders
import torch
from others import optional
from signals import voices
from speechbrain.nnet.losses import get_si_snr_with_pitwrapper
from turns import Absent, Timed

from dpcl_dprnn.evaluation.metrics import score_utterance
from dpcl_dprnn.model.clustering import kmeans_masks
from dpcl_dprnn.model.losses import dpcl_loss, pit_si_snr_loss
from dpcl_dprnn.model.targets import bin_weights

RATE = 8000  # Hz
BINS, HOP, SIZE = 129, 64, 20  # of the grid of the embeddings
EXPLICIT = "explicit N x N form"
LOW_RANK = "ours: dpcl_loss"
ASTEROID_DPCL = "Asteroid's deep_clustering_loss"
MIR_EVAL = "mir_eval bss_eval_sources"
OUR_SCORES = "ours: score_utterance"


def worse(sources, seed=1):
    """Estimates of sources [..., C, T], with some of the others in them."""
    noise = voices(1, sources.shape[-2], sources.shape[-1], seed=seed)
    leaked = sources.mean(dim=-2, keepdim=True)
    return sources + 0.2 * leaked + 0.1 * noise[0].to(sources.device)


def gradient(loss, x):
    """A loss [B] and the gradient of its mean."""
    x = x.requires_grad_()
    x.grad = None
    values = loss(x)
    values.mean().backward()
    return values.detach()


def pit(args, seconds, batch=4, speakers=2):
    """The PIT loss and its gradient, against SpeechBrain's."""
    sources = voices(batch, speakers, round(seconds * RATE)).to(args.device)
    estimates = worse(sources).flip(1)
    last = [x.transpose(1, 2).contiguous() for x in (estimates, sources)]

    def stock():
        return gradient(
            lambda x: get_si_snr_with_pitwrapper(last[1], x), last[0]
        )

    def ours():
        return gradient(lambda x: pit_si_snr_loss(x, sources)[0], estimates)

    return {
        "SpeechBrain's get_si_snr_with_pitwrapper": Timed(stock, args.device),
        "ours: pit_si_snr_loss": Timed(ours, args.device),
    }


def pit_check(entrants):
    """Largest difference between the two losses."""
    stock, ours = (each.value for each in entrants.values())
    return {"loss, dB difference": float((stock - ours).abs().max())}


def explicit_dpcl_loss(embeddings, targets):
    """||VV' - YY'||^2 / N^2 with all N^2 affinities."""
    v, y = embeddings.flatten(1, 2), targets.flatten(1, 2)  # [B, N, .]
    affinity = v @ v.transpose(1, 2) - y @ y.transpose(1, 2)
    return affinity.square().mean(dim=(1, 2))


def dpcl(args, seconds, batch=1, speakers=2, explicit=True):
    """The loss of deep clustering and its gradient, all weights 1."""
    frames = round(seconds * RATE) // HOP + 1
    generator = torch.Generator().manual_seed(0)
    shape = (batch, frames, BINS)
    index = torch.randint(speakers, shape, generator=generator)
    index = index.to(args.device)
    targets = torch.nn.functional.one_hot(index, speakers).float()
    weights = torch.ones(shape, device=args.device)
    embeddings = torch.nn.functional.normalize(
        torch.randn(*shape, SIZE, generator=generator), dim=-1
    ).to(args.device)

    def timed(loss):
        x = embeddings.clone()
        return Timed(functools.partial(gradient, loss, x), args.device)

    entrants = {}
    if explicit:
        entrants[EXPLICIT] = timed(lambda x: explicit_dpcl_loss(x, targets))
    entrants[LOW_RANK] = timed(lambda x: dpcl_loss(x, targets, weights))
    try:
        theirs = optional("asteroid.losses").deep_clustering_loss
        bins = frames * BINS
        entrants[ASTEROID_DPCL] = timed(
            lambda x: theirs(x.flatten(1, 2), index) / bins
        )
    except Absent as reason:
        entrants[ASTEROID_DPCL] = str(reason)
    return entrants


def dpcl_check(entrants):
    """Largest difference from ours, relative to ours."""
    values = {
        name: each.value for name, each in entrants.items() if callable(each)
    }
    ours = values.pop(LOW_RANK)
    return {
        f"{name}, relative difference": float(((x - ours) / ours).abs().max())
        for name, x in values.items()
    }


def kmeans(args, seconds, mask_head=True):
    """What the head of embeddings adds to the evaluation of an utterance."""
    hparams = contenders.load("dpcl_dprnn", args.folder, args.hparams)
    separator = hparams["separator"].to(args.device).eval()
    speakers = hparams["num_spks"]
    samples = round(seconds * hparams["sample_rate"])
    sources = voices(1, speakers, samples).to(args.device)
    mixture = sources.sum(dim=1)
    targets, _ = separator.dpcl_targets(mixture, sources)
    embeddings = planted(targets, hparams["embedding_size"])
    weights = bin_weights(separator.grid_encoder(mixture))[0].cpu().numpy()
    points = embeddings[0].cpu().numpy()
    whole, options = (mixture, embeddings, speakers), hparams["kmeans"]
    entrants = {}
    if mask_head:
        entrants["mask head: separate_each"] = Timed(
            lambda: separator.separate_each([mixture[0]]), args.device
        )
    entrants["k-means head adds: separate_kmeans"] = Timed(
        functools.partial(separator.separate_kmeans, *whole, **options),
        args.device,
    )
    entrants["of that: kmeans_masks"] = Timed(
        lambda: kmeans_masks(points, weights, speakers, **options)
    )
    return entrants


def planted(targets, size, spread=0.5):
    """Unit embeddings [..., D] that gather around one point for each speaker."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(targets.shape[-1], size, generator=generator)
    centres = torch.nn.functional.normalize(centres, dim=-1)
    noise = torch.randn(*targets.shape[:-1], size, generator=generator)
    scattered = targets.cpu() @ centres + spread * noise / size**0.5
    scattered = torch.nn.functional.normalize(scattered, dim=-1)
    return scattered.to(targets.device)


def scoring(args, seconds):
    """SDR and its improvement of an utterance, against mir_eval."""
    sources = voices(1, 2, round(seconds * RATE))[0]
    estimates = worse(sources).flip(0).numpy()
    mixture, sources = sources.sum(dim=0).numpy(), sources.numpy()

    def ours():
        scores, _ = score_utterance(mixture, estimates, sources)
        return scores["sdr"], scores["sdr_i"]

    def theirs():
        """As SpeechBrain's recipe computes them."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sdr, *_ = bss_eval_sources(sources, estimates)
            mixtures = mixture[None].repeat(len(sources), axis=0)
            baseline, *_ = bss_eval_sources(sources, mixtures)
        return sdr.mean(), (sdr - baseline).mean()

    entrants = {MIR_EVAL: Timed(theirs), OUR_SCORES: Timed(ours)}
    try:
        bss_eval_sources = optional("mir_eval.separation").bss_eval_sources
    except Absent as reason:
        entrants[MIR_EVAL] = str(reason)
    return entrants


def scoring_check(entrants):
    """Largest difference of SDR and SDR improvement."""
    values = [each.value for each in entrants.values() if callable(each)]
    if len(values) < 2:
        return {}
    pairs = zip(*values, strict=True)
    return {"SDR, dB difference": float(max(abs(a - b) for a, b in pairs))}
