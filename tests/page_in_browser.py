"""The page's server in a process of its own, and what a browser shows."""

import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.request

import app

SCRIPT = pathlib.Path(app.__file__)
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
