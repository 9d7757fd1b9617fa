"""What the page shows, in a real browser."""

import json
import pathlib
import threading
import time
import types

import numpy as np
import pytest
import soundfile
from browser import browser, console_errors
from page_in_browser import (
    LIMIT,
    Server,
    all_shown,
    fetched,
    free_port,
    messages,
    players,
    press,
    until,
    upload,
)

from dpcl_dprnn.apps.page import build_page, theme
from dpcl_dprnn.inference import SpeechSeparator
from dpcl_dprnn.inference.separator import Voices

__all__ = ["browser"]

pytest.importorskip("gradio")
pytest.importorskip("matplotlib")

RATE, FRAMES = 16000, 24001


@pytest.fixture(scope="module")
def separator(three_folder):
    """On the CPU, as the page's."""
    return SpeechSeparator.from_hparams(source=three_folder)


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    """Two bands of noise that come and go, in two channels."""
    path = tmp_path_factory.mktemp("sounds") / "two people.wav"
    noise = np.random.default_rng(0).standard_normal((FRAMES, 2))
    gate = np.sin(np.arange(FRAMES) / 900)[:, None] > 0
    soft = np.cumsum(noise, axis=0) / 200
    samples = np.where(gate, 0.05 * noise, soft - soft.mean(axis=0))
    soundfile.write(path, samples, RATE)
    return path


@pytest.fixture(scope="module")
def server(three_folder, tmp_path_factory):
    with Server(three_folder, tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def driver(browser):
    """The browser, whose log of requests begins with the tests."""
    browser.get("about:blank")
    browser.get_log("performance")  # of the page that it starts with
    return browser


def test_separates_an_upload(driver, server, separator, mixture, tmp_path):
    folder = {"behavior": "allow", "downloadPath": str(tmp_path)}
    driver.execute_cdp_cmd("Page.setDownloadBehavior", folder)
    upload(driver, server, mixture)
    until(lambda: all_shown(driver, "button[aria-label=Clear]"))
    for choice in ("2", "kmeans"):
        driver.find_element("css selector", f"input[value='{choice}']").click()
    press(driver, "Separate")
    until(lambda: len(players(driver)) == 3)
    until(lambda: all(p["ready"] > 0 for p in players(driver).values()))
    result = until(lambda: all_shown(driver, "textarea"))[0]
    assert result.get_property("value").startswith(
        "2 voices in two people.wav (1.5 s), separated in "
    )

    samples, _ = soundfile.read(mixture, dtype="float32")
    voices = separator.separate_signal(samples, RATE, 2, "kmeans").waveforms
    assert np.abs(voices).max(axis=1).min() > 0.01  # neither is silent
    heard = dict(players(driver))
    assert heard.pop("audio-player-Mixture")["seconds"] == pytest.approx(
        FRAMES / RATE
    )
    assert list(heard) == ["audio-player-Voice 1", "audio-player-Voice 2"]
    for number, (player, voice) in enumerate(
        zip(heard.values(), voices, strict=True), start=1
    ):
        assert player["seconds"] == pytest.approx(FRAMES / RATE)
        press(driver, f"Download voice {number}")
        file = tmp_path / f"two people_s{number}.wav"
        until(file.exists)
        assert file.read_bytes() == fetched(player["src"])
        written, rate = soundfile.read(file, dtype="int16")
        assert (rate, len(written)) == (RATE, FRAMES)
        assert np.abs(written - 32768.0 * voice).max() <= 1.5

    names = ("mixture", "voice 1", "voice 2")
    pictures = all_shown(driver, "img")
    assert [picture.accessible_name for picture in pictures] == [
        f"Spectrogram of {name}" for name in names
    ]
    for picture in pictures:
        until(lambda picture=picture: picture.get_property("complete"))
        assert picture.get_property("naturalWidth") > 0
    assert console_errors(driver) == []

    # Another mixture is not shown with these voices.
    driver.find_element("css selector", "button[aria-label=Clear]").click()
    until(lambda: not players(driver))


def test_refuses_what_is_too_long(driver, server, tmp_path):
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(8000 * LIMIT + 1), 8000)
    upload(driver, server, path)
    until(lambda: all_shown(driver, "button[aria-label=Clear]"))
    press(driver, "Separate")
    message = until(lambda: messages(driver))
    assert "long.wav lasts 3.0 s, and 3 s is the limit" in message
    assert "Traceback" not in message


def test_refuses_what_is_not_sound(driver, server, tmp_path):
    path = tmp_path / "text.wav"
    path.write_text("not sound")
    upload(driver, server, path)
    until(lambda: all_shown(driver, "button[aria-label=Clear]"))
    press(driver, "Separate")
    assert "Cannot read text.wav as sound" in until(lambda: messages(driver))


def test_refuses_what_is_too_large(driver, server, tmp_path):
    path = tmp_path / "large.wav"
    soundfile.write(path, np.zeros(2**20), 8000)
    upload(driver, server, path)
    message = until(lambda: messages(driver))
    assert "maximum allowed size of 1.0 M" in message


def test_asks_for_a_mixture(driver, server):
    driver.get(server.url)
    until(lambda: all_shown(driver, "button.primary"))
    press(driver, "Separate")
    assert "There is no mixture yet" in until(lambda: messages(driver))


def test_works_by_keyboard(driver, server):
    from selenium.webdriver.common.keys import Keys

    driver.get(server.url)
    until(lambda: all_shown(driver, "button.primary"))
    names = []
    for _ in range(12):
        driver.switch_to.active_element.send_keys(Keys.TAB)
        names.append(driver.switch_to.active_element.accessible_name)
    wanted = ["Upload file", "Record audio", "3", "auto", "masks", "Separate"]
    assert set(wanted) <= set(names)


def test_nobody_else_is_called(driver, server):
    driver.get(server.url)
    until(lambda: all_shown(driver, "button.primary"))
    events = [
        json.loads(entry["message"])["message"]
        for entry in driver.get_log("performance")
    ]
    urls = {
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    }
    assert server.url in urls
    own = (server.url, "data:", "blob:")
    assert [url for url in urls if not url.startswith(own)] == []
    assert set(server.peers.read_text().split()) == {"127.0.0.1"}


def test_listens_on_loopback_only(server):
    assert server.url in server.greeting
    places = []
    for name in ("tcp", "tcp6"):
        path = pathlib.Path(f"/proc/{server.process.pid}/net/{name}")
        for line in path.read_text().splitlines()[1:]:
            place, state = line.split()[1], line.split()[3]
            if place.endswith(f":{server.port:04X}") and state == "0A":
                places.append(place)
    assert places == [f"0100007F:{server.port:04X}"]


def test_offers_what_the_model_can(separator):
    def choices(**changes):
        facts = {"num_spks": 2, "counts": True, "heads": ("masks", "kmeans")}
        page = build_page(types.SimpleNamespace(**facts | changes), 60)
        radios = [
            b for b in page.blocks.values() if b.get_block_name() == "radio"
        ]
        return [[value for _, value in radio.choices] for radio in radios]

    assert choices() == [[1, 2, 3, 4, "auto"], ["", "masks", "kmeans"]]
    assert choices(counts=False, heads=("masks",)) == [[1, 2], ["", "masks"]]


# While a separation runs


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


def load_and_press(driver, held, path):
    upload(driver, held, path)
    until(lambda: all_shown(driver, "button[aria-label=Clear]"))
    press(driver, "Separate")
    assert held.started.wait(10)


def told(driver):
    (result,) = driver.find_elements("css selector", "textarea")
    return result.get_property("value")


def test_clearing_while_it_runs(driver, held, mixture):
    load_and_press(driver, held, mixture)
    driver.find_element("css selector", "button[aria-label=Clear]").click()
    until(lambda: driver.find_elements("css selector", "input[type=file]"))
    held.let_go()
    time.sleep(2)
    assert players(driver) == {} and told(driver) == ""
    assert messages(driver) == ""


def test_replacing_while_it_runs(driver, held, mixture, tmp_path):
    load_and_press(driver, held, mixture)
    driver.find_element("css selector", "button[aria-label=Clear]").click()
    field = "input[type=file]"
    until(lambda: driver.find_elements("css selector", field))
    other = tmp_path / "other.wav"
    soundfile.write(other, np.full(8000, 0.1), 8000)
    driver.find_element("css selector", field).send_keys(str(other))
    until(lambda: all_shown(driver, "button[aria-label=Clear]"))
    press(driver, "Separate")  # has to wait for the first
    shown = set()
    held.let_go()
    until(lambda: shown.add(told(driver)) or len(players(driver)) == 3)
    assert shown <= {"", told(driver)}
    assert told(driver).startswith("2 voices in other.wav (1.0 s)")
    until(lambda: players(driver)["audio-player-Voice 2"]["ready"] > 0)
    player = players(driver)["audio-player-Voice 2"]
    assert player["seconds"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "error, line",
    [
        (MemoryError(), "The separation failed: MemoryError()"),
        (RuntimeError("out of <memory>\nmore"), "failed: out of <memory>"),
    ],
)
def test_other_errors(error, line, driver, held, mixture, capfd):
    held.error = error
    held.go_on.set()
    load_and_press(driver, held, mixture)
    message = until(lambda: messages(driver))
    assert line in message and "more" not in message
    assert "Traceback" not in message
    log = "".join(capfd.readouterr())
    assert "Traceback" in log and "in separate_signal" in log
