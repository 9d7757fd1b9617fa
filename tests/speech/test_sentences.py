"""The grammar: enough sentences, all of them whole."""

import re

import numpy as np

from dpcl_dprnn.speech.sentences import CHOICES, sentence


def test_sentences_hardly_ever_repeat():
    rng = np.random.default_rng(0)
    drawn = [sentence(rng) for _ in range(5000)]
    assert len(set(drawn)) > 0.99 * len(drawn)


def test_sentences_are_whole_and_of_a_length_to_speak():
    rng = np.random.default_rng(1)
    drawn = [sentence(rng) for _ in range(2000)]
    for text in drawn:
        assert re.fullmatch(r"[A-Z][A-Za-z' ,]*[.?]", text), text
        assert not re.search(r"\ba [aeiou]", text), text
    words = [len(text.split()) for text in drawn]
    assert min(words) >= 4 and max(words) <= 24
    assert 8 <= np.median(words) <= 12


def test_every_slot_exists_and_every_list_is_used():
    asked = {
        slot
        for entries in CHOICES.values()
        for entry in entries
        for slot in re.findall(r"\{(\w+)\}", entry)
    }
    assert asked | {"sentence"} == set(CHOICES)
