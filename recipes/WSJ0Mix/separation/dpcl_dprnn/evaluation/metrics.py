"""Scores of separated speech, in dB unless said otherwise.

Pure NumPy functions of single utterances. A score that is not defined (a
silent source, a signal too short) is NaN.
"""

import importlib.util

import fast_bss_eval
import numpy as np
import threadpoolctl
import torch

from ..model.losses import best_permutation, pairwise_si_snr

SDR_FILTER = 512  # taps, as in BSS Eval
SDR_LIMIT = 100.0  # dB; what perfect and silent estimates get, either way


def score_all(mixture, sources, voices, ideal, rate=None):
    """Scores of several ways to separate one utterance, see `score_utterance`.

    `voices` are `{way: estimates [C, T]}`, and so are the scores; `ideal`
    [C, T] is what an ideal mask gives, whose scores, without the perceptual
    ones, come second.
    """
    # Beside other work, several threads of BLAS wait for each other: solving
    # for SDR's filter then took 30 times as long on two cores.
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        baseline = baseline_of(mixture, sources)
        scores = {
            name: score_utterance(mixture, each, sources, rate, baseline)[0]
            for name, each in voices.items()
        }
        best = score_utterance(mixture, ideal, sources, None, baseline)[0]
    return scores, best


def score_utterance(mixture, estimates, sources, rate=None, baseline=None):
    """Scores of one utterance, averaged over its speakers.

    Estimates are assigned to sources by the best total SI-SNR. Improvements
    are over the mixture taken as the estimate of every source. Silent
    sources do not count.

    Arguments
    ---------
    mixture : numpy.ndarray, [T]
    estimates : numpy.ndarray, [C, T]
    sources : numpy.ndarray, [C, T]
    rate : int, optional
        In Hz; with it `pesq` and `stoi` are computed where they are installed.
    baseline : tuple of numpy.ndarray, optional
        Of `baseline_of`, where it is known.

    Returns
    -------
    scores : dict of str to float
        `sdr`, `sdr_i`, `si-snr`, `si-snr_i`, and `pesq`, `stoi` if asked for.
    permutation : numpy.ndarray, [C]
        The estimate for each source.

    Example
    -------
    >>> sources = np.random.default_rng(0).standard_normal((2, 8000))
    >>> scores, permutation = score_utterance(
    ...     sources.sum(axis=0), sources[::-1], sources)
    >>> permutation, scores["si-snr_i"] > 40
    (array([1, 0]), True)
    """
    baseline_si_snr, baseline_sdr = baseline or baseline_of(mixture, sources)
    audible = np.ptp(sources, axis=-1) > 0
    permutation = assign(estimates, sources)
    estimates = estimates[permutation][audible]
    sources = sources[audible]
    si_snr = si_snr_of(estimates, sources)
    estimate_sdr = sdr(estimates, sources)
    scores = {
        "sdr": _mean(estimate_sdr),
        "sdr_i": _mean(estimate_sdr - baseline_sdr),
        "si-snr": _mean(si_snr),
        "si-snr_i": _mean(si_snr - baseline_si_snr),
    }
    if rate is not None:
        for name, metric in perceptual_metrics().items():
            values = [
                metric(source, estimate, rate)
                for source, estimate in zip(sources, estimates, strict=True)
            ]
            scores[name] = _mean(np.array(values))
    return scores, permutation


def baseline_of(mixture, sources):
    """SI-SNR and SDR, two arrays, of a mixture [T] against each of sources
    [C, T] that is not silent.
    """
    sources = sources[np.ptp(sources, axis=-1) > 0]
    mixtures = np.broadcast_to(mixture, sources.shape)
    return si_snr_of(mixtures, sources), sdr(mixtures, sources)


def assign(estimates, sources):
    """The number [C] of the estimate [C, T] for each source [C, T], by the best
    total SI-SNR; silent sources get what is left.
    """
    pairs = _si_snr_matrix(estimates, sources)
    pairs[:, np.ptp(sources, axis=-1) == 0] = 0.0
    return best_permutation(torch.from_numpy(pairs)[None])[0].numpy()


def _si_snr_matrix(estimates, sources):
    """SI-SNR of each estimate against each source, [C, C], float64."""
    as_batch = [
        torch.from_numpy(np.array(x, dtype=np.float32))[None]
        for x in (estimates, sources)
    ]
    return pairwise_si_snr(*as_batch)[0].double().numpy()


def si_snr_of(estimates, sources):
    """SI-SNR [C] of estimate i [C, T] against source i [C, T], in dB."""
    if not len(sources):
        return np.zeros(0)
    return np.diagonal(_si_snr_matrix(estimates, sources))


def sdr(estimates, sources):
    """Signal-to-distortion ratio [C] of estimate i [C, T] against source i
    [C, T], within +-100 dB; NaN where a source is silent or not longer than the
    filter.

    BSS Eval version 3 with a 512-tap filter, by fast_bss_eval (Scheibler,
    arXiv 2110.06440).
    """
    scores = np.full(len(sources), np.nan)
    if sources.shape[-1] <= SDR_FILTER:
        return scores
    audible = np.ptp(sources, axis=-1) > 0
    silenced = np.ptp(estimates, axis=-1) == 0
    scores[audible & silenced] = -SDR_LIMIT
    for index in np.flatnonzero(audible & ~silenced):
        # Float64, and NumPy rather than torch: its batched solvers hang on
        # some CPUs. One pair a call: no search for a permutation.
        scores[index] = fast_bss_eval.sdr(
            sources[index : index + 1].astype(np.float64),
            estimates[index : index + 1].astype(np.float64),
            filter_length=SDR_FILTER,
            clamp_db=SDR_LIMIT,
        )[0]
    return scores


def _mean(values):
    """Mean of the defined values, NaN if there is none."""
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")


def perceptual_metrics():
    """PESQ and STOI, as far as the `metrics` extra is installed: functions of
    source [T], estimate [T] and rate in Hz, NaN where a score is not defined.
    """
    known = {"pesq": ("pesq", _pesq), "stoi": ("pystoi", _stoi)}
    return {
        name: metric
        for name, (package, metric) in known.items()
        if importlib.util.find_spec(package)
    }


def _pesq(source, estimate, rate):
    import pesq

    if rate not in (8000, 16000):
        return np.nan
    mode = "nb" if rate == 8000 else "wb"
    code = pesq.PesqError.RETURN_VALUES
    value = pesq.pesq(rate, source, estimate, mode, on_error=code)
    return np.nan if value < 0 else value


def _stoi(source, estimate, rate):
    import pystoi

    # pystoi fails below a frame of 256 samples at 10 kHz, and warns and gives
    # 1e-5 below 30 frames of active speech.
    if len(source) < 0.0512 * rate:
        return np.nan
    value = pystoi.stoi(source, estimate, rate)
    return np.nan if value <= 1e-5 else value
