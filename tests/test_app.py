"""The page: what it shows, in a real browser, and its command line."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import types
import urllib.request

import numpy as np
import pytest
import soundfile
from browser import console_errors, settings
from model_folder import make_model_folder

import app
from dpcl_dprnn import listening
from dpcl_dprnn.errors import UserError
from dpcl_dprnn.inference import SpeechSeparator, Voices

pytest.importorskip("gradio")
pytest.importorskip("matplotlib")

SCRIPT = pathlib.Path(app.__file__)
RATE, FRAMES = 16000, 24001
LIMIT = 3  # seconds, of --max_seconds
# Says with whom a process talks.
WATCH = """
import sys

def hook(event, args):
    if event == "socket.connect":
        with open({path!r}, "a") as file:
            print(args[1][0], file=file)

sys.addaudithook(hook)
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """What `main` changes for the process is put back."""
    for name in ("NO_PROXY", "no_proxy", "GRADIO_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    handlers = {number: signal.getsignal(number) for number in app.ENDING}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model_folder(tmp_path_factory.mktemp("model"), num_spks=3)


@pytest.fixture(scope="module")
def separator(model):
    return SpeechSeparator.from_hparams(source=model)


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


class Server:
    """app.py in a process of its own, with a temporary folder of its own."""

    def __init__(self, model, folder):
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self.peers = folder / "peers"
        code = WATCH.format(path=str(self.peers))
        (folder / "sitecustomize.py").write_text(code)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        options = [
            *("--model", model, "--port", self.port),
            *("--max_seconds", LIMIT, "--max_mb", 1),
        ]
        # A proxy that is not there would stop all that is sent through it.
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), *map(str, options)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=os.environ
            | {
                "HTTP_PROXY": "http://127.0.0.1:9",
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": str(folder),
                "TMPDIR": str(self.temporary),
            },
        )
        self.greeting = self.process.stdout.readline()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def stop(self, number):
        """Send a signal; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout=20)


@pytest.fixture(scope="module")
def server(model, tmp_path_factory):
    with Server(model, tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """A browser that logs its requests."""
    options, service = settings(tmp_path_factory.mktemp("chromium"))
    from selenium import webdriver

    logs = {"browser": "ALL", "performance": "ALL"}
    options.set_capability("goog:loggingPrefs", logs)
    driver = webdriver.Chrome(options, service)
    driver.get("about:blank")
    driver.get_log("performance")  # of the page that it starts with
    yield driver
    driver.quit()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(condition, seconds=30):
    """Wait until something is true, and return it."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)
    return value


def all_shown(driver, selector):
    found = driver.find_elements("css selector", selector)
    return [element for element in found if element.is_displayed()]


def press(driver, text):
    """Press a button by its name."""
    for button in all_shown(driver, "button"):
        if button.text == text:
            return button.click()
    raise AssertionError(f"no button {text}")


def upload(driver, server, path):
    """Open the page anew and give it a file."""
    driver.get(server.url)
    field = "input[type=file]"
    until(lambda: driver.find_elements("css selector", field))
    driver.find_element("css selector", field).send_keys(str(path))


def messages(driver):
    return " ".join(toast.text for toast in all_shown(driver, ".toast-body"))


def players(driver):
    """What <audio> elements tell of themselves, by their label."""
    return driver.execute_script(
        "return Object.fromEntries([...document.querySelectorAll('audio')]"
        ".filter(a => a.src && a.checkVisibility()).map(a => "
        "[a.dataset.testid, {src: a.src, ready: a.readyState, "
        "seconds: a.duration}]))"
    )


def fetched(url):
    with urllib.request.urlopen(url) as answer:
        return answer.read()


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
    for _ in range(10):
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_removes_its_files(number, model, tmp_path):
    with Server(model, tmp_path) as server:
        assert len(list(server.temporary.iterdir())) == 1
        assert server.stop(number) == 128 + number
    assert list(server.temporary.iterdir()) == []
    # Nothing was written where it ran, but for what this test wrote.
    left = {path.name for path in tmp_path.iterdir()} - {"__pycache__"}
    assert left == {"temporary", "peers", "sitecustomize.py"}


def error_of(capsys, *words):
    """The line that a command ends with."""
    assert app.main([str(word) for word in words]) == 1
    error = capsys.readouterr().err
    assert error.startswith("app.py: error: ")
    assert error.count("\n") == 1
    return error


def test_no_model(capsys, tmp_path):
    options = ("--port", free_port(), "--model")
    assert "is not a folder" in error_of(capsys, *options, tmp_path / "none")
    assert "has no" in error_of(capsys, *options, tmp_path)
    # Such a name would be looked up in the network.
    assert "is not a folder" in error_of(capsys, *options, "user/name")


def test_busy_port(capsys, model):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        error = error_of(capsys, "--model", model, "--port", port)
    assert f"port {port}: Address already in use" in error


def test_no_gradio(capsys, model, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    error = error_of(capsys, "--model", model)
    assert "pip install 'dpcl-dprnn[demo]'" in error


def test_warns_of_other_computers(capsys, model, monkeypatch):
    monkeypatch.setattr(app, "serve", lambda separator, args: signal.SIGINT)
    port = str(free_port())
    options = ["--model", str(model), "--port", port]
    assert app.main(options) == 130
    assert "warning" not in capsys.readouterr().err
    assert app.main([*options, "--host", "0.0.0.0"]) == 130
    (line,) = capsys.readouterr().err.splitlines()
    assert "lets other computers use the page" in line


@pytest.mark.parametrize(
    "option", ["--port=0", "--port=65536", "--max_mb=0", "--max_seconds=nan"]
)
def test_numbers_that_make_no_sense(option, capsys):
    with pytest.raises(SystemExit):
        app.main(["--model", "x", option])
    assert option.split("=")[0] in capsys.readouterr().err


def test_offers_what_the_model_can(separator):
    from dpcl_dprnn.page import build_page

    def choices(**changes):
        facts = {"num_spks": 2, "counts": True, "heads": ("masks", "kmeans")}
        page = build_page(types.SimpleNamespace(**facts | changes), 60)
        radios = [
            b for b in page.blocks.values() if b.get_block_name() == "radio"
        ]
        return [[value for _, value in radio.choices] for radio in radios]

    assert choices() == [[1, 2, "auto"], ["masks", "kmeans"]]
    assert choices(counts=False, heads=("masks",)) == [[1, 2], ["masks"]]


def test_auto_tells_the_confidence(separator, mixture, tmp_path):
    told, tracks = listening.separate(
        separator, str(mixture), tmp_path, LIMIT, "auto"
    )
    assert "Confidence in the number: " in told
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

    told, tracks = listening.separate(Loud(), str(mixture), tmp_path, LIMIT)
    assert "All voices are 12.0 dB quieter" in told
    assert "Confidence" not in told
    mixed, first, second = (soundfile.read(t.sound)[0] for t in tracks)
    assert np.abs(first).max() == listening.FULL_SCALE
    assert np.abs(4 * second - mixed).max() < 4 / 32768
    assert all(t.picture.read_bytes()[1:4] == b"PNG" for t in tracks)


def test_spectrograms_share_their_colours():
    time = np.arange(16000) / 16000
    loud = 0.5 * np.sin(2 * np.pi * 1000 * time)
    figures = listening.spectrograms([loud, 0.01 * loud], 16000, 8000)
    images = [figure.axes[0].images[0] for figure in figures]
    high = 20 * np.log10(0.5)
    for image in images:
        assert image.get_clim() == pytest.approx((high - 60, high), abs=0.1)
    peaks = [image.get_array().max() for image in images]
    assert peaks[1] - peaks[0] == pytest.approx(-40, abs=0.01)
    assert figures[0].axes[0].get_ylim()[1] == 4  # kHz


def test_silence_has_no_voice():
    nobody = Voices(np.zeros((0, 8000), np.float32), 8000, 1.0)
    told = listening.describe("a.wav", 1.0, nobody, 0.1, 1.0)
    assert told.startswith("No voice in a.wav")


def test_errors_name_the_file_as_the_user_does(tmp_path):
    path = tmp_path / "empty.wav"
    soundfile.write(path, np.zeros(0), 8000)
    with pytest.raises(UserError, match=r"^empty\.wav is empty"):
        listening.read_mixture(path, LIMIT)
    with pytest.raises(UserError, match="does not say how long"):
        listening.check_length("a.flac", 2**63 - 1, 8000, LIMIT)
