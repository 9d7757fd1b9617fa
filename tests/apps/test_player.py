"""What the page has to hear and to see of a separation."""

import re
import types
import urllib.parse

import numpy as np
import pytest
import soundfile

from dpcl_dprnn.apps import player
from dpcl_dprnn.common.errors import UserError
from dpcl_dprnn.inference.recordings import FileRecording
from dpcl_dprnn.inference.separator import Voices
from dpcl_dprnn.unmixing.turns import Turn

pytest.importorskip("matplotlib")

RATE, FRAMES = 16000, 24001
LIMIT = 3  # seconds


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    """Noise in two channels."""
    path = tmp_path_factory.mktemp("sounds") / "two people.wav"
    noise = np.random.default_rng(0).standard_normal((FRAMES, 2))
    soundfile.write(path, 0.05 * noise, RATE)
    return path


def test_auto_tells_the_confidence(three, mixture, tmp_path):
    told, tracks = player.separate(three, str(mixture), tmp_path, LIMIT, "auto")
    assert "confidence in the number: " in told
    assert tracks[0].sound.name == "two people_mixture.wav"
    played, _ = soundfile.read(tracks[0].sound)
    samples, _ = soundfile.read(mixture)
    assert np.abs(played - samples.mean(axis=1)).max() < 1 / 32768


def test_voices_that_would_clip_are_turned_down_alike(tmp_path, mixture):
    class Loud:
        sample_rate = 8000

        def separate_signal(self, samples, rate, n_spks, head):
            voices = np.stack([4 * samples / abs(samples).max(), samples])
            return Voices(voices, rate, None)

    told, tracks = player.separate(Loud(), str(mixture), tmp_path, LIMIT)
    assert "All voices are 12.0 dB quieter" in told
    assert "confidence" not in told
    mixed, first, second = (soundfile.read(t.sound)[0] for t in tracks)
    assert np.abs(first).max() == player.FULL_SCALE
    assert np.abs(4 * second - mixed).max() < 4 / 32768
    assert all(t.picture.read_bytes()[1:4] == b"PNG" for t in tracks)


@pytest.mark.parametrize("stays", [True, False])
@pytest.mark.parametrize("longest", [300.0, 1.0])
def test_page(mixture, tmp_path, monkeypatch, stays, longest):
    """It names the files beside it, and draws what is not too long."""
    monkeypatch.setattr(player, "LONGEST_SEEN", longest)
    noise = 0.1 * np.random.default_rng(1).standard_normal((2, 12000))
    outputs = [tmp_path / f"a & b_s{n}.wav" for n in (1, 2)]
    for path, voice in zip(outputs, noise, strict=True):
        soundfile.write(path, voice, 8000, subtype="FLOAT")
    path = tmp_path / "a & b.html"
    turns = [Turn(0, 0.1, 1.0), Turn(1, 0.5, 1.4), Turn(0, 1.1, 1.5)]
    player.write_page(
        path,
        FileRecording(mixture),
        outputs,
        turns,
        "2 voices <in> it.",
        highest=8000,
        stays=stays,
    )
    text = path.read_text()
    assert "2 voices &lt;in&gt; it." in text and "a &amp; b" in text
    links = re.findall(r'<audio [^>]*src="([^"]*)"', text)
    assert len(links) == (3 if stays else 2)
    files = [
        (tmp_path / urllib.parse.unquote(link)).resolve() for link in links
    ]
    assert files[-2:] == outputs
    assert not stays or files[0] == mixture
    pictures = text.count("data:image/png;base64,")
    assert pictures == (4 if longest > 2 else 1)  # the time line, and tracks


def test_spectrograms_share_their_colours():
    time = np.arange(16000) / 16000
    loud = 0.5 * np.sin(2 * np.pi * 1000 * time)
    figures = player.spectrograms([loud, 0.01 * loud], 16000, 8000)
    images = [figure.axes[0].images[0] for figure in figures]
    high = 20 * np.log10(0.5)
    for image in images:
        assert image.get_clim() == pytest.approx((high - 60, high), abs=0.1)
    peaks = [image.get_array().max() for image in images]
    assert peaks[1] - peaks[0] == pytest.approx(-40, abs=0.01)
    assert figures[0].axes[0].get_ylim()[1] == 4  # kHz


def test_silence_has_no_voice():
    nobody = Voices(np.zeros((0, 8000), np.float32), 8000, 1.0)
    told = player.describe("a.wav", 1.0, nobody, 0.1, 1.0)
    assert told.startswith("No voice in a.wav")


def test_errors_name_the_file_as_the_user_does(tmp_path):
    path = tmp_path / "empty.wav"
    soundfile.write(path, np.zeros(0), 8000)
    with pytest.raises(UserError, match=r"^empty\.wav is empty"):
        player.read_mixture(path, LIMIT)


def sizes(rate, channels, frames):
    """What a header says."""
    return types.SimpleNamespace(rate=rate, channels=channels, frames=frames)


@pytest.mark.parametrize(
    "header, why",
    [
        (sizes(8000, 1, 8000 * LIMIT + 1), "lasts 3.0 s, and 3 s is"),
        (sizes(384001, 1, 1), "384001 samples per second, and 384000 is"),
        (sizes(48000, 9, 48000 * LIMIT), "1296000 samples in 9 channels, and"),
    ],
)
def test_sizes_that_are_refused(header, why):
    with pytest.raises(UserError, match=why):
        player.check_size("a.wav", header, LIMIT)


def test_largest_sizes():
    for rate, channels in ((48000, 8), (384000, 1)):
        header = sizes(rate, channels, rate * LIMIT)
        player.check_size("a.wav", header, LIMIT)


def test_rates_that_nobody_uses(tmp_path):
    """Nothing is made that grows with the rate."""
    path = tmp_path / "high.wav"
    soundfile.write(path, np.zeros(100), 20_000_003)
    with pytest.raises(UserError, match=r"^high\.wav has 20000003 samples"):
        player.read_mixture(path, LIMIT)
    # The filter would have 8 million taps.
    (figure,) = player.spectrograms([np.ones(38401)], 383_987, 8000)
    assert figure.axes[0].get_ylim()[1] == 4  # kHz
