"""A headless Chromium for tests of pages.

A test file imports the fixture `browser`, and names it in `__all__` for the
linter.
"""

import shutil

import pytest

OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",  # scripts may play sound
)
MISSING = "no Chromium and chromedriver on this machine"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A Selenium driver with an empty profile; one for each test file."""
    options, service = settings(tmp_path_factory.mktemp("chromium"))
    from selenium import webdriver

    driver = webdriver.Chrome(options, service)
    try:
        yield driver
    finally:
        driver.quit()


def settings(profile):
    """What Selenium needs to start; skips the test where that is missing."""
    selenium = pytest.importorskip("selenium.webdriver", reason="no Selenium")
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip(f"{MISSING} (apt install chromium chromium-driver)")
    options = selenium.ChromeOptions()
    options.binary_location = program
    for option in (*OPTIONS, f"--user-data-dir={profile}"):
        options.add_argument(option)
    logs = {"browser": "ALL", "performance": "ALL"}
    options.set_capability("goog:loggingPrefs", logs)
    return options, selenium.ChromeService(driver)


def set_width(driver, width, height=900):
    """Show the page as on a screen of some pixels, even a small one."""
    metrics = {"deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, **metrics},
    )


def console_errors(driver):
    """The errors on the console since the last call."""
    return [
        entry["message"]
        for entry in driver.get_log("browser")
        if entry["level"] == "SEVERE"
    ]
