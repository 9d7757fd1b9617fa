"""What the page shows when something happens while a separation runs."""

import threading
import time

import numpy as np
import pytest
import soundfile
from browser import browser
from page_in_browser import (
    LIMIT,
    all_shown,
    free_port,
    messages,
    players,
    press,
    until,
    upload,
)

from dpcl_dprnn.inference.page import build_page, theme
from dpcl_dprnn.inference.separator import Voices

__all__ = ["browser"]

pytest.importorskip("gradio")
pytest.importorskip("matplotlib")


class Held:
    """A separator that waits to be told how to end."""

    num_spks, counts, heads, sample_rate = 2, False, ("masks",), 8000

    def __init__(self):
        self.started, self.go_on = threading.Event(), threading.Event()
        self.error = None

    def separate_signal(self, samples, rate, n_spks, head):
        self.started.set()
        assert self.go_on.wait(30)
        if self.error:
            raise self.error
        return Voices(np.stack([samples, -samples]), rate, None)

    def let_go(self):
        """Let one separation end, and be ready for another."""
        self.started.clear()
        self.go_on.set()


@pytest.fixture
def held(tmp_path, monkeypatch):
    """A page in this process with a `Held`, and its address as `url`."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    separator = Held()
    page = build_page(separator, LIMIT)
    page.launch(
        prevent_thread_lock=True,
        server_name="127.0.0.1",
        server_port=free_port(),
        theme=theme(),
        show_error=True,
        quiet=True,
        ssr_mode=False,
    )
    separator.url = page.local_url
    yield separator
    separator.go_on.set()
    page.close(verbose=False)


@pytest.fixture
def mixture(tmp_path):
    path = tmp_path / "two people.wav"
    soundfile.write(path, np.full(12000, 0.1), 8000)
    return path


def load_and_press(browser, held, path):
    upload(browser, held, path)
    until(lambda: all_shown(browser, "button[aria-label=Clear]"))
    press(browser, "Separate")
    assert held.started.wait(10)


def told(browser):
    (result,) = browser.find_elements("css selector", "textarea")
    return result.get_property("value")


def test_clearing_while_it_runs(browser, held, mixture):
    load_and_press(browser, held, mixture)
    browser.find_element("css selector", "button[aria-label=Clear]").click()
    until(lambda: browser.find_elements("css selector", "input[type=file]"))
    held.let_go()
    time.sleep(2)
    assert players(browser) == {} and told(browser) == ""
    assert messages(browser) == ""


def test_replacing_while_it_runs(browser, held, mixture, tmp_path):
    load_and_press(browser, held, mixture)
    browser.find_element("css selector", "button[aria-label=Clear]").click()
    field = "input[type=file]"
    until(lambda: browser.find_elements("css selector", field))
    other = tmp_path / "other.wav"
    soundfile.write(other, np.full(8000, 0.1), 8000)
    browser.find_element("css selector", field).send_keys(str(other))
    until(lambda: all_shown(browser, "button[aria-label=Clear]"))
    press(browser, "Separate")  # has to wait for the first
    shown = set()
    held.let_go()
    until(lambda: shown.add(told(browser)) or len(players(browser)) == 3)
    assert shown <= {"", told(browser)}
    assert told(browser).startswith("2 voices in other.wav (1.0 s)")
    until(lambda: players(browser)["audio-player-Voice 2"]["ready"] > 0)
    player = players(browser)["audio-player-Voice 2"]
    assert player["seconds"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "error, line",
    [
        (MemoryError(), "The separation failed: MemoryError()"),
        (RuntimeError("out of <memory>\nmore"), "failed: out of <memory>"),
    ],
)
def test_other_errors(error, line, browser, held, mixture, capfd):
    held.error = error
    held.go_on.set()
    load_and_press(browser, held, mixture)
    message = until(lambda: messages(browser))
    assert line in message and "more" not in message
    assert "Traceback" not in message
    log = "".join(capfd.readouterr())
    assert "Traceback" in log and "in separate_signal" in log
