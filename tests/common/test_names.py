"""Names of mixtures are read back as they were written."""

import numpy as np
import pytest

from dpcl_dprnn.common.names import utterances_and_gains
from dpcl_dprnn.mixtures.lists import draw_mixtures, mixture_name

SPEECH = {
    f"p{n}": [f"p{n}/p{n}_{i:03}.wav" for i in range(9)] for n in range(8)
}


@pytest.mark.parametrize("n_spks", [1, 2, 3, 5])
def test_what_is_written_is_read(n_spks):
    rng = np.random.default_rng(0)
    for mixture in draw_mixtures(SPEECH, 100, max(2, n_spks), rng):
        mixture = mixture[:n_spks]
        stems = [path.split("/")[1].removesuffix(".wav") for path, _ in mixture]
        wanted = stems, [gain for _, gain in mixture]
        name = mixture_name(mixture)
        assert utterances_and_gains(name) == wanted
        assert utterances_and_gains(name, n_spks) == wanted
        assert utterances_and_gains(f"12-345_{name}") == wanted


def test_count_decides_what_is_a_gain():
    name = "u_1_2_1.5_v_-1.5"
    assert utterances_and_gains(name, 2) == (["u_1_2", "v"], [1.5, -1.5])
    assert utterances_and_gains(name)[1] == [1, 1.5, -1.5]


@pytest.mark.parametrize("name", ["mixture7", "a_1.9857_b", "a-1_b-2", "a_12"])
def test_without_gains(name):
    assert utterances_and_gains(name) == (name.split("_"), [])
