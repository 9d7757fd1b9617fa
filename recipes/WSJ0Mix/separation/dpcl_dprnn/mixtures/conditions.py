"""What lies between voices and a recording: rooms, noise, telephones, codecs."""

import io

import numpy as np
import scipy.signal
import soundfile

# What soundfile writes: format and subtype, and how much a lossy one leaves out
CODECS = {
    "u-law": ("WAV", "ULAW", None),
    "gsm": ("WAV", "GSM610", None),
    "adpcm": ("WAV", "IMA_ADPCM", None),
    "opus": ("OGG", "OPUS", (0.8, 0.97)),
    "vorbis": ("OGG", "VORBIS", (0.6, 0.95)),
    "mp3": ("MP3", "MPEG_LAYER_III", (0.5, 0.95)),
}
BAND = ((200, 400), (3000, 3600))  # Hz: where a telephone's begins and ends
QUIETEST = -30.0  # dB, of what is recorded, to the fullest


def in_room(dry, response, target):
    """Hear a voice in a room, as loud as without and beginning with it.

    Arguments
    ---------
    dry, response : numpy.ndarray, [T] and [R]
        The voice and the impulse response.
    target : int, optional
        Samples of the response after its direct sound that the target has;
        by default all.

    Returns
    -------
    wet, target : numpy.ndarray, [T]
        What is heard, and what of it is to be found.
    """
    direct = int(np.abs(response).argmax())
    heard = slice(direct, direct + len(dry))
    wet = early = scipy.signal.oaconvolve(dry, response)[heard]
    if target is not None:
        first = response[: direct + target + 1]
        early = scipy.signal.oaconvolve(dry, first)[heard]
    energy = np.square(wet).sum()
    factor = np.sqrt(np.square(dry).sum() / (energy or 1.0))
    return wet * factor, early * factor


def in_noise(mixture, noise, ratio):
    """Add noise [N], repeated where it is too short, to a mixture [T], in the
    ratio of their energies in dB: [T].
    """
    noise = np.resize(noise, len(mixture))
    energies = np.square(mixture).sum(), np.square(noise).sum()
    factor = np.sqrt(energies[0] / (energies[1] or 1.0))
    return mixture + noise * np.float32(factor * 10 ** (-ratio / 20))


def telephone_band(signals, rate, rng):
    """Keep the band of some telephone, which `rng` draws, of signals [..., T]:
    the mixture and its sources, which still sum to it.
    """
    edges = [min(rng.uniform(*edge), 0.45 * rate) for edge in BAND]
    filters = scipy.signal.butter(4, edges, "bandpass", fs=rate, output="sos")
    return scipy.signal.sosfilt(filters, signals).astype(signals.dtype)


def through_codec(signal, rate, codec, rng):
    """Code a signal [T] of a peak below 1 by one of `CODECS`, and decode it:
    [T], as loud and at most a sample later. `rng` draws its level, and how
    much is left out.
    """
    kind, subtype, compression = CODECS[codec]
    level = np.float32(10 ** (rng.uniform(QUIETEST, 0) / 20))
    options = {"format": kind, "subtype": subtype}
    if compression:
        options["compression_level"] = rng.uniform(*compression)
    file = io.BytesIO()
    soundfile.write(file, signal * level, rate, **options)
    file.seek(0)
    decoded, _ = soundfile.read(file, len(signal), dtype="float32")
    padded = np.zeros_like(signal)
    padded[: len(decoded)] = decoded / level
    return padded
