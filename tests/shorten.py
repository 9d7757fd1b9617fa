"""Writes NIST SPHERE files for the tests: plain, and compressed with shorten.

Shorten (version 2) is a stream of bits. A number of `low` bits and more is
written as so many zeros as its upper part says, a one, and its lower part. A
block of samples is the number of its predictor (0 to 3: that many differences
of the signal), the low bits of its residuals, and these, the sign in the last
bit.
"""

import pathlib

import numpy as np
import soundfile

FIRST_BYTES = b"ajkg\x02"
HEADER = 1024
# Types of samples, and functions.
SAMPLE_TYPES = {"10": 3, "01": 5}  # 16 bits with sign, by byte order
QUIT, BLOCK_SIZE = 4, 5
BLOCK = 256


def write_sphere(path, samples, rate=16000, byte_order="01", **fields):
    """Write a plain SPHERE file of int16, [T] or [T, channels].

    The byte order is `01` for little endian, `10` for big endian; `fields` are
    further integers or strings of the header, or others than usual.
    """
    kind = "<i2" if byte_order == "01" else ">i2"
    data = np.asarray(samples, dtype=np.int16).astype(kind).tobytes()
    _write(path, _header(samples, rate, byte_order, **fields) + data)


def write_speech(path, samples, rate=8000):
    """Write a file of the kind that its suffix says: WAV, FLAC or SPHERE."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".wv1", ".wv2", ".sph"):
        write_sphere(path, samples, rate)
    else:
        soundfile.write(path, samples, rate)


def write_shortened(path, samples, rate=16000, byte_order="01", **fields):
    """Write a SPHERE file compressed with shorten; see `write_sphere`."""
    fields = {"sample_coding": "pcm,embedded-shorten-v2.00", **fields}
    header = _header(samples, rate, byte_order, **fields)
    _write(path, header + FIRST_BYTES + _shorten(samples, byte_order))


def _write(path, content):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _header(samples, rate, byte_order, **fields):
    frames, *channels = np.shape(samples)
    fields = {
        "database_id": "wsj0",
        "microphone": "Sennheiser HMD 410",
        "channel_count": channels[0] if channels else 1,
        "sample_count": frames,
        "sample_rate": rate,
        "sample_n_bytes": 2,
        "sample_byte_format": byte_order,
        "sample_coding": "pcm",
        **fields,
    }
    text = f"NIST_1A\n{HEADER:7}\n"
    for name, value in fields.items():
        kind = "-i" if isinstance(value, int) else f"-s{len(value)}"
        text += f"{name} {kind} {value}\n"
    return f"{text}end_head\n".encode("latin-1").ljust(HEADER)


def _shorten(samples, byte_order):
    """The compressed stream, whole words of 32 bits."""
    # Before the first sample there are zeros.
    channels = np.atleast_2d(np.asarray(samples, dtype=np.int64).T)
    residuals = [channels]
    for _ in range(3):
        residuals.append(np.diff(residuals[-1], axis=1, prepend=0))
    residuals = np.stack(residuals, axis=1)  # [channels, predictors, T]
    # Type, channels, block size, and none of: linear prediction, means of
    # blocks, bytes to skip.
    numbers = (SAMPLE_TYPES[byte_order], len(channels), BLOCK, 0, 0, 0)
    bits = "".join(map(_long, numbers))
    frames = channels.shape[1]
    for start in range(0, frames, BLOCK):
        if frames - start < BLOCK:
            bits += _rice(BLOCK_SIZE, 2) + _long(frames - start)
        bits += "".join(_block(r[:, start : start + BLOCK]) for r in residuals)
    bits += _rice(QUIT, 2)
    bits += "0" * (-len(bits) % 32)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def _block(residuals):
    """The cheapest predictor of a block with the cheapest low bits."""
    # The sign in the last bit: 0, -1, 1, -2, ... become 0, 1, 2, 3, ...
    numbers = np.where(residuals < 0, -2 * residuals - 1, 2 * residuals)
    costs = np.array(
        [
            (numbers >> low).sum(axis=1) + low * numbers.shape[1]
            for low in range(1, 20)
        ]
    )
    low, predictor = np.unravel_index(costs.argmin(), costs.shape)
    low = int(low) + 1
    words = [_rice(int(number), low) for number in numbers[predictor]]
    return _rice(int(predictor), 2) + _rice(low - 1, 3) + "".join(words)


def _rice(number, low):
    """A number in so many low bits and as many more as it takes."""
    tail = f"{number:b}".zfill(low)[-low:] if low else ""
    return "0" * (number >> low) + "1" + tail


def _long(number):
    """A number after the number of its bits."""
    return _rice(number.bit_length(), 2) + _rice(number, number.bit_length())
