"""Draws the synthetic speakers of the embedded corpus.

A speaker is a voice variant and an accent of eSpeak NG, a pitch, a speaking
rate, a vocal-tract length and a colour, all drawn from one seed. Training,
validation and test use different variants.
"""

import fractions
import itertools

import numpy as np

from .espeak import ESPEAK_RATE

# Each variant with its median F0 in Hz at eSpeak's pitch 50. Variants that
# sound alike share a split. Few are women's voices, so some men's are raised.
VARIANTS = {
    "train": {
        "high": """Alicia 258, Annie 242, Nguyen 151, belinda 229, f1 182,
            f3 216, shelby 182, steph 186, steph2 186, zac 364, Marco 133,
            ed 127, boris 104, klatt3 103, m6 103, m7 108""",
        "low": """Alex 104, Andy 96, Denis 100, Diogo 107, Henrique 111,
            Marco 133, Mario 109, Michael 108, Mike 92, RicishayMax 104,
            RicishayMax2 101, adam 103, benjamin 103, boris 104, ed 127,
            edward2 103, grandpa 107, ian 83, john 103, klatt3 103,
            klatt4 103, klatt5 103, klatt6 103, m1 95, m2 101, m3 107,
            m4 95, m5 104, m6 103, m7 108, m8 86, max 103, paul 86,
            pedro 104, sandro 100, victor 96""",
    },
    "valid": {
        "high": "Andrea 250, f2 200, f5 211, grandma 205, Gene2 116, Reed 118",
        "low": """Gene 96, iven3 101, Reed 118, mike2 92, quincy 87,
            gustave 107, marcelo 99, norbert 103, Mr serious 103, Hugo 111""",
    },
    "test": {
        "high": """anika 267, aunty 174, f4 182, linda 229, antonio 113,
            Jacky 114""",
        "low": """Lee 98, travis 104, klatt 103, klatt2 104, michel 107,
            miguel 113, rob 111, robert 99, david 76, edward 103, pablo 116,
            Jacky 114""",
    },
}
ACCENTS = """en-us en-us-nyc gmw/en en-029 en-gb-scotland en-gb-x-rp
    en-gb-x-gbclan en-gb-x-gbcwmd""".split()
# F0 in Hz and vocal-tract factor (formants times this): men, then women
REGISTERS = {
    "low": {"f0": (85, 150), "tract": (0.85, 1.08)},
    "high": {"f0": (165, 255), "tract": (0.92, 1.15)},
}


def draw_speakers(speakers, heldout, hours, rate, seed):
    """Draw the speakers of every split, half of them high and half low:
    `speakers` of training, `heldout` in each of valid and test, who speak 1.5
    times as long; `hours` all together. Each is a dict with all that `speak`
    needs to know but the folder, for a corpus at `rate` samples per second.

    Example
    -------
    >>> [s["register"] for s in draw_speakers(2, 1, 0.1, 8000, seed=0)]
    ['low', 'high', 'low', 'low']
    """
    rng = np.random.default_rng(seed)
    counts = {"train": speakers, "valid": heldout, "test": heldout}
    share = hours * 3600 / (speakers + 2 * 1.5 * heldout)
    drawn = []
    for split, count in counts.items():
        quota = share if split == "train" else 1.5 * share
        variants = {}
        for register in REGISTERS:
            names = VARIANTS[split][register].split(",")
            variants[register] = itertools.cycle(rng.permutation(names))
        # Registers, and the variants of each, take turns
        for index, register in zip(range(count), itertools.cycle(REGISTERS)):
            voice = draw_voice(rng, register, next(variants[register]), rate)
            drawn.append(
                {"split": split, "speaker": f"{split}{index:03d}", **voice}
                | {"seed": [seed, len(drawn)], "quota": quota}
            )
    return drawn


def draw_voice(rng, register, variant, rate):
    """Draw the voice of one speaker, `low` or `high`, of an entry of `VARIANTS`
    (name and F0): what `open_voice` and `colour` need, and the register.
    """
    variant, variant_f0 = variant.strip().rsplit(" ", 1)
    log_f0 = rng.uniform(*np.log2(REGISTERS[register]["f0"]))
    tract = rng.uniform(*REGISTERS[register]["tract"])
    # One small ratio resamples to the corpus's rate and scales the formants
    ratio = fractions.Fraction(rate / ESPEAK_RATE / tract)
    ratio = ratio.limit_denominator(50)
    tract = rate / ESPEAK_RATE / float(ratio)
    # F0 doubles in about 70 steps of eSpeak's pitch; resampling moves it too
    pitch = 50 + 70 * (log_f0 - np.log2(float(variant_f0) * tract))
    tilt = rng.uniform(-5, 5)  # dB, from the lowest band to the highest
    bands = tilt * np.linspace(-0.5, 0.5, 5) + rng.normal(0, 1.5, 5)
    return {
        "register": register,
        "voice": f"{rng.choice(ACCENTS)}+{variant}",
        "pitch": int(np.clip(np.round(pitch), 0, 99)),
        "range": int(rng.integers(35, 75)),
        # Divided by the factor, as the resampled speech is that much faster
        "words_per_minute": round(rng.uniform(115, 170) / tract),
        "tract": round(tract, 4),
        "up": ratio.numerator,
        "down": ratio.denominator,
        "eq_db": " ".join(f"{gain:.1f}" for gain in bands),
        "level_db": round(rng.uniform(-31, -25), 1),
        "rate": rate,
    }
