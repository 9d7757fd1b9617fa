"""The synthetic speakers: no voice in two splits, registers in balance."""

import numpy as np
import pytest

from dpcl_dprnn.speech.espeak import ESPEAK_RATE
from dpcl_dprnn.speech.synthetic import (
    REGISTERS,
    VARIANTS,
    draw_speakers,
    draw_voice,
)


def test_splits_share_no_variant_and_balance_registers():
    speakers = draw_speakers(200, 24, 2.5, 8000, 1)
    variants = {}
    for split in ("train", "valid", "test"):
        here = [s for s in speakers if s["split"] == split]
        assert len(here) == (200 if split == "train" else 24)
        highs = sum(s["register"] == "high" for s in here)
        assert highs == len(here) / 2
        variants[split] = {s["voice"].split("+")[1] for s in here}
        assert all(0.84 < s["tract"] < 1.16 for s in here)
    assert not variants["train"] & (variants["valid"] | variants["test"])
    assert not variants["valid"] & variants["test"]


def test_every_variant_exists():
    loader = pytest.importorskip("espeakng_loader")
    folder = f"{loader.get_data_path()}/voices/!v"
    for registers in VARIANTS.values():
        for names in registers.values():
            for entry in names.split(","):
                name, f0 = entry.strip().rsplit(" ", 1)
                with open(f"{folder}/{name}", encoding="utf-8") as file:
                    assert "language variant" in file.read()
                assert 70 < int(f0) < 400


def test_same_seed_same_speakers():
    first = draw_speakers(5, 2, 1, 8000, 1)
    assert draw_speakers(5, 2, 1, 8000, 1) == first
    assert draw_speakers(5, 2, 1, 8000, 2) != first


def test_quotas_add_up_to_the_hours():
    speakers = draw_speakers(7, 3, 1.5, 8000, 1)
    quotas = {s["split"]: s["quota"] for s in speakers}
    assert quotas["valid"] == quotas["test"] == 1.5 * quotas["train"]
    assert sum(s["quota"] for s in speakers) == pytest.approx(1.5 * 3600)


def test_variants_take_turns():
    names = VARIANTS["valid"]["low"].split(",")
    speakers = draw_speakers(2, 2 * len(names), 1, 8000, 1)
    lows = [
        s["voice"].split("+")[1]
        for s in speakers
        if (s["split"], s["register"]) == ("valid", "low")
    ]
    assert len(set(lows)) == len(lows) == len(names)


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("register", ["low", "high"])
def test_a_voice_has_the_formants_and_pitch_of_its_register(register, rate):
    rng = np.random.default_rng(0)
    lowest, highest = REGISTERS[register]["f0"]
    for _ in range(100):
        voice = draw_voice(rng, register, " any 140", rate)
        assert voice["voice"].endswith("+any")
        # Speech at ESPEAK_RATE that is resampled by up / down and played at
        # the corpus's rate has all its frequencies times this
        factor = rate / ESPEAK_RATE * voice["down"] / voice["up"]
        assert voice["tract"] == pytest.approx(factor, abs=1e-4)
        f0 = 140 * 2 ** ((voice["pitch"] - 50) / 70) * factor
        assert 0.99 * lowest < f0 < 1.01 * highest
