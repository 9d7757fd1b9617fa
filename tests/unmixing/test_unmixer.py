"""From a separator's estimates to voices: how many, and how loud."""

import pytest
import torch
from ideal import ideal_counting, ideal_embeddings, ideal_unmixer, tones
from model_folder import make_separator
from refusals import refused

from dpcl_dprnn.model.separator import Separated
from dpcl_dprnn.unmixing.unmixer import Unmixer

HEADS = pytest.mark.parametrize("head", ["masks", "kmeans"])


def ordered(voices, sources):
    """Two voices in the order of their sources."""
    swapped = voices.flip(0)
    if torch.dist(voices, sources) > torch.dist(swapped, sources):
        return swapped
    return voices


@HEADS
@pytest.mark.parametrize("count", [1, 2, 3])
def test_voices_sum_to_the_mixture(head, count):
    unmixer = ideal_unmixer(3)
    sources = tones(300, 1000, 3000)
    mixture = sources.sum(dim=0)
    separated = Separated(sources[None], ideal_embeddings(unmixer, sources))
    voices = unmixer.unmix(mixture, separated, count, head).voices
    assert voices.shape == (count, len(mixture))
    torch.testing.assert_close(voices.sum(dim=0), mixture, atol=1e-5, rtol=0)


@HEADS
def test_ideal_estimates_give_the_sources(head):
    unmixer = ideal_unmixer(2)
    sources = tones(300, 2500)
    separated = Separated(sources[None], ideal_embeddings(unmixer, sources))
    voices = unmixer.unmix(sources.sum(dim=0), separated, 2, head).voices
    voices = ordered(voices, sources)
    error = (voices - sources)[:, 100:-100].abs().max()
    assert error < (1e-6 if head == "masks" else 0.02)


def test_a_voice_in_pieces_is_put_together():
    """Three outputs for two speakers: one of them was split in two."""
    unmixer = ideal_unmixer(3)
    sources = tones(300, 2500)
    embeddings = ideal_embeddings(unmixer, sources)
    pieces = torch.stack([0.3 * sources[0], sources[1], 0.7 * sources[0]])
    unmixed = unmixer.unmix(
        sources.sum(dim=0), Separated(pieces[None], embeddings), 2, "masks"
    )
    voices = ordered(unmixed.voices, sources)
    torch.testing.assert_close(voices, sources, atol=1e-5, rtol=0)
    # And its embeddings too: the two are as unlike as can be.
    likeness = unmixer.expectation("masks", unmixed.sums).likeness
    assert likeness == pytest.approx(0, abs=0.02)


def test_a_single_speaker_is_returned_whole():
    unmixer = ideal_unmixer(2, speaker_counting=ideal_counting(2))
    voice = tones(300, 301).sum(dim=0)
    halves = torch.stack([0.6 * voice, 0.4 * voice])
    embeddings = ideal_embeddings(unmixer, voice[None].repeat(2, 1) * 0)
    for head in ("masks", "kmeans"):
        unmixed = unmixer.unmix(
            voice, Separated(halves[None], embeddings), "auto", head
        )
        assert unmixed.voices.shape == (1, len(voice))
        torch.testing.assert_close(unmixed.voices[0], voice, atol=1e-5, rtol=0)
        assert unmixed.confidence > 0.9


@pytest.mark.parametrize("count", [1, 2, 3])
def test_auto_finds_their_number(count):
    unmixer = ideal_unmixer(3, speaker_counting=ideal_counting(3))
    sources = tones(300, 1200, 3000)[:count]
    padded = torch.cat([sources, torch.zeros(3 - count, sources.shape[1])])
    separated = Separated(padded[None], ideal_embeddings(unmixer, padded))
    unmixed = unmixer.unmix(sources.sum(dim=0), separated, "auto", "masks")
    assert len(unmixed.voices) == count
    assert 0.3 < unmixed.confidence <= 1


def test_silence_has_no_voice():
    unmixer = ideal_unmixer(2, speaker_counting=ideal_counting(2))
    silence = torch.zeros(2, 500)
    separated = Separated(silence[None], ideal_embeddings(unmixer, silence))
    unmixed = unmixer.unmix(silence[0], separated, "auto", "masks")
    assert unmixed.voices.shape == (0, 500)
    assert unmixed.confidence == 1.0


@pytest.mark.parametrize("consistent", [True, False])
@pytest.mark.parametrize("gains", [(), (-1 / 20, 1 / 30)], ids=str)
def test_voices_have_the_scale_of_the_mixture(gains, consistent):
    """Whatever scale and sign the outputs have."""
    unmixer = ideal_unmixer(
        2, mixture_consistency=consistent, output_gains=gains
    )
    sources = tones(300, 2500)
    noise = 0.01 * torch.randn(sources.shape[1])
    outputs = sources * torch.tensor([[-20.0], [30.0]])
    separated = Separated(outputs[None], ideal_embeddings(unmixer, sources))
    mixture = sources.sum(dim=0) + noise
    voices = unmixer.unmix(mixture, separated, 2).voices
    error = torch.dist(voices, sources)
    total = torch.dist(voices.sum(dim=0), mixture)
    if consistent:  # the noise has to go somewhere
        assert total < 1e-4 and error < 1.01 * noise.norm()
    else:
        assert error < 0.02 * sources.norm()
        assert total > 0.5 * noise.norm()


@pytest.mark.parametrize(
    "n_spks, head, message",
    [
        (3, "masks", "separates 1 to 2 by masks, 1 to 10 by kmeans"),
        (11, None, "separates 1 to 2 by masks, 1 to 10 by kmeans"),
        (0, None, "separates 1 to 2"),
        (1.5, None, "separates 1 to 2"),
        (True, None, "separates 1 to 2"),
        ("two", None, "separates 1 to 2"),
        ("auto", None, "cannot count"),
        (2, "ears", "no head 'ears'; it has masks and kmeans"),
    ],
)
def test_what_the_system_cannot_do_is_refused(n_spks, head, message):
    with refused(message):
        ideal_unmixer(2).check(n_spks, head)


def test_what_is_not_asked_for_is_what_the_system_has():
    assert ideal_unmixer(3).check(None, None) == (3, "masks")
    assert ideal_unmixer(3).check(2, "kmeans") == (2, "kmeans")


def test_embeddings_separate_more_than_there_are_outputs():
    unmixer = ideal_unmixer(2)
    assert unmixer.check(3, None) == (3, "kmeans")
    assert unmixer.heads_for(2) == ("masks", "kmeans")
    assert unmixer.heads_for(3) == ("kmeans",)
    sources = tones(300, 1200, 3000)
    separated = Separated(None, ideal_embeddings(unmixer, sources))
    voices = unmixer.unmix(sources.sum(dim=0), separated, 3, "kmeans").voices
    for source in sources:  # in any order
        errors = (voices - source)[:, 100:-100].abs().amax(dim=1)
        assert errors.min() < 0.03


def test_masks_alone_separate_no_more_than_there_are_outputs():
    masks = Unmixer(make_separator(embedding_head=None), 2)
    with refused("separates 1 to 2 by masks[.]"):
        masks.check(3, None)


def test_mixtures_do_not_depend_on_one_another(device):
    unmixer = Unmixer(make_separator(num_spks=3).to(device), 3)
    mixtures = [0.1 * torch.randn(n, device=device) for n in (800, 500, 799)]
    for head in ("masks", "kmeans"):
        together = unmixer(mixtures, 2, head)
        for mixture, unmixed in zip(mixtures, together, strict=True):
            (alone,) = unmixer([mixture], 2, head)
            torch.testing.assert_close(
                unmixed.voices, alone.voices, atol=1e-5, rtol=0
            )
    assert unmixer([], 2) == []


def test_from_hparams_takes_what_there_is():
    unmixer = Unmixer.from_hparams(
        {"separator": None, "num_spks": 3, "threshold_db": 30.0, "lr": 1}
    )
    assert unmixer == Unmixer(None, 3, threshold_db=30.0)
