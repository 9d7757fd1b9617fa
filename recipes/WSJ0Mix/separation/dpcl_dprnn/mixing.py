"""From folders of speakers to mixtures in the layout of wsj0-mix.

`mix_sources` does the arithmetic for one mixture, `mix_corpus` draws a list
of mixtures from a folder of speakers and writes the files.
"""

import concurrent.futures
import functools
import hashlib
import json
import logging
import math
import multiprocessing
import os
import pathlib
import signal
import tempfile

import numpy as np
import tqdm

from .audio import read_audio, write_text, write_wav
from .errors import UserError
from .levels import active_level
from .mixture_lists import draw_mixtures, format_mixture, mixture_name
from .speakers import SPLITS, find_speakers

logger = logging.getLogger(__name__)

COUNTS = {"tr": 3000, "cv": 200, "tt": 200}
SILENCE = 1e-4  # peak; three steps of 16 bits


def mix_sources(sources, gains_db, mode="min", rate=8000):
    """Mix utterances by the rule of wsj0-mix.

    Each source is brought to an active level of 1, then to its gain; all are
    cut or padded to one length and scaled together to a peak of 0.9.

    Arguments
    ---------
    sources : list
        Utterances, numpy.ndarray [T] each, of any lengths, none silent.
    gains_db : list
        A level for each, in dB.
    mode : str
        `min` cuts all to the shortest, `max` pads with zeros to the longest.
    rate : int
        Samples per second.

    Returns
    -------
    mixture : numpy.ndarray, [T]
        int16, exactly the sum of the sources.
    sources : numpy.ndarray, [C, T]
        int16.

    Example
    -------
    >>> noise = np.random.default_rng(0).standard_normal((2, 8000))
    >>> mixture, sources = mix_sources(list(noise), [2.0, -2.0])
    >>> bool((mixture == sources.sum(axis=0)).all())
    True
    """
    lengths = [len(source) for source in sources]
    length = min(lengths) if mode == "min" else max(lengths)
    scaled = np.zeros((len(sources), length))
    for row, source, gain in zip(scaled, sources, gains_db, strict=True):
        level = 10 ** (gain / 20) / math.sqrt(active_level(source, rate))
        row[: len(source)] = source[:length] * level
    peak = max(np.abs(scaled).max(), np.abs(scaled.sum(axis=0)).max())
    # A peak of 0: every source begins with a pause longer than the cut.
    scaled *= 0.9 * 32768 / (peak or 1.0)
    scaled = np.round(scaled).astype(np.int16)
    return scaled.sum(axis=0, dtype=np.int16), scaled


def mix_corpus(
    speech,
    out,
    n_spks=2,
    rate=8000,
    mode="min",
    counts=None,
    seed=1234,
    jobs=None,
    progress=True,
):
    """Make a data set in the layout of wsj0-mix from a folder of speakers.

    Writes `OUT/<n>speakers/wav8k/min/{tr,cv,tt}/{mix,s1,s2,...}/NAME.wav` and
    the lists `OUT/<n>speakers/mix_<n>_spk_{tr,cv,tt}.txt`. The folder appears
    only when it is whole, and the same seed gives the same bytes.

    Arguments
    ---------
    speech : str or Path
        Folder of speakers, see `find_speakers`.
    out : str or Path
        Where `<n>speakers` will be.
    n_spks : int
        Speakers in each mixture, 2 or more.
    rate : int
        Sampling rate to write; speech at another rate is resampled.
    mode : str
        `min` or `max`, see `mix_sources`.
    counts : dict, optional
        Number of mixtures for `tr`, `cv` and `tt`.
    seed : int
        Seed of all random choices.
    jobs : int, optional
        Processes; as many as there are cores by default.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    pathlib.Path
        The folder `OUT/<n>speakers`. If it is there already, made from the
        same speech with the same options, it is left as it is.

    Raises
    ------
    UserError
        When an option or the speech is unfit, an utterance is silent, or the
        folder exists with other content.
    """
    counts = {**COUNTS, **(counts or {})}
    _check_options(n_spks, rate, mode, counts, seed)
    speech = pathlib.Path(speech)
    target = pathlib.Path(out) / f"{n_spks}speakers"
    mixtures = {}
    speakers = find_speakers(speech, n_spks, seed)
    for number, split in enumerate(SPLITS):
        # A seed of its own: one split's size does not change the others.
        rng = np.random.default_rng([seed, number])
        mixtures[split] = draw_mixtures(
            speakers[split], counts[split], n_spks, rng
        )
    parameters = {
        "n_spks": n_spks,
        "rate": rate,
        "mode": mode,
        "counts": counts,
        "seed": seed,
        "fingerprint": _fingerprint(speech, mixtures),
    }
    if target.exists():
        _check_same(target, parameters)
        logger.info("%s is already there, made just so: kept.", target)
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=target.parent, prefix=f".{target.name}-"
        ) as temporary:
            # One level deeper, as the temporary folder itself is private.
            folder = pathlib.Path(temporary, target.name)
            _write_lists(folder, mixtures, n_spks)
            sounds = folder / f"wav{rate / 1000:g}k" / mode
            _render_all(speech, sounds, mixtures, rate, mode, jobs, progress)
            text = json.dumps(parameters, indent=2) + "\n"
            write_text(folder / "mixtures.json", text)
            folder.rename(target)
    except OSError as error:
        raise UserError(
            f"Cannot write {target}: {error.strerror or error}. "
            "Free some space or choose another folder."
        ) from error
    return target


def _check_options(n_spks, rate, mode, counts, seed):
    if n_spks < 2:
        raise UserError(f"n_spks is {n_spks}; a mixture needs 2 or more.")
    if rate <= 0:
        raise UserError(f"rate is {rate}; it must be above 0, such as 8000.")
    if mode not in ("min", "max"):
        raise UserError(f"mode is {mode!r}; it must be min or max.")
    if seed < 0:
        raise UserError(f"seed is {seed}; it must be 0 or more.")
    for split, count in counts.items():
        if split not in SPLITS or count < 1:
            raise UserError(
                f"{split} is to have {count} mixtures; each of tr, cv and tt "
                "needs 1 or more."
            )


def _fingerprint(speech, mixtures):
    """A digest of the lists and of the sizes of the files they name."""
    digest = hashlib.sha256()
    for split, each in mixtures.items():
        digest.update(f"{split}\n".encode())
        for mixture in each:
            sizes = [(speech / path).stat().st_size for path, _ in mixture]
            digest.update(f"{format_mixture(mixture)} {sizes}\n".encode())
    return digest.hexdigest()


def _check_same(target, parameters):
    try:
        text = (target / "mixtures.json").read_text(encoding="utf-8")
        same = json.loads(text) == parameters
    except (OSError, ValueError):
        same = False
    if not same:
        raise UserError(
            f"{target} is already there, with other options or speech. "
            "Remove it or choose another --out."
        )


def _write_lists(folder, mixtures, n_spks):
    for split, each in mixtures.items():
        lines = [format_mixture(mixture) + "\n" for mixture in each]
        write_text(folder / f"mix_{n_spks}_spk_{split}.txt", "".join(lines))


def _render_all(speech, folder, mixtures, rate, mode, jobs, progress):
    """Write the sound files, over several processes."""
    tasks = [(folder / s, m) for s, each in mixtures.items() for m in each]
    render = functools.partial(_render, speech=speech, rate=rate, mode=mode)
    bar = tqdm.tqdm(total=len(tasks), unit="mixture", disable=not progress)
    jobs = jobs or os.cpu_count() or 1
    with bar:
        if jobs == 1:
            for task in tasks:
                render(task)
                bar.update()
            return
        pool = concurrent.futures.ProcessPoolExecutor(
            jobs,
            # Forking a process with threads (torch has some) can hang.
            mp_context=multiprocessing.get_context("spawn"),
            # Only the parent answers Ctrl-C, once.
            initializer=signal.signal,
            initargs=(signal.SIGINT, signal.SIG_IGN),
        )
        try:
            for _ in pool.map(render, tasks, chunksize=16):
                bar.update()
        finally:
            pool.shutdown(cancel_futures=True)


def _render(task, speech, rate, mode):
    folder, mixture = task
    sources = [_load(speech / path, rate) for path, _ in mixture]
    gains = [gain for _, gain in mixture]
    mixed, sources = mix_sources(sources, gains, mode, rate)
    name = f"{mixture_name(mixture)}.wav"
    write_wav(folder / "mix" / name, mixed, rate)
    for number, source in enumerate(sources, 1):
        write_wav(folder / f"s{number}" / name, source, rate)


def _load(path, rate):
    """Read an utterance at the wanted rate; refuse silence."""
    samples, file_rate = read_audio(path)
    if file_rate != rate:
        import scipy.signal  # a second to import, and seldom needed

        common = math.gcd(rate, file_rate)
        samples = scipy.signal.resample_poly(
            samples, rate // common, file_rate // common
        )
    if np.abs(samples).max() < SILENCE:
        raise UserError(f"{path} is silent. Remove the file.")
    return samples
