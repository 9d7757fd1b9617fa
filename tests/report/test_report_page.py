"""The page in a real browser."""

import time

import pytest
from browser import browser, console_errors, set_width
from past_run import plant_run

from dpcl_dprnn.report.page import write_report

__all__ = ["browser"]  # a fixture: pytest finds it by its name

LOADED = """
const done = arguments[0], players = [...document.querySelectorAll("audio")];
Promise.all(players.map((player) => new Promise((ready) => {
  if (player.readyState >= 1) ready();
  for (const event of ["loadedmetadata", "error"])
    player.addEventListener(event, ready);
}))).then(() => done(players.map((player) => player.duration)));
"""
PLAYED = """
const done = arguments[0], [first, second] = document.querySelectorAll("audio");
for (const player of [first, second]) player.loop = true;
first.play().then(() => second.play())
  .then(() => done([first.paused, second.paused]))
  .catch((error) => done(String(error)));
"""
WIDE = """
const width = document.documentElement.clientWidth;
return [...document.body.querySelectorAll("*")]
  .filter((e) => !e.parentElement.closest(".scroll"))
  .filter((e) => e.getBoundingClientRect().right > width + 1)
  .map((e) => e.outerHTML.slice(0, 80));
"""


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    plant_run(folder, num_spks=3, kinds=["best"])
    browser.get(write_report(folder).as_uri())
    yield browser
    assert console_errors(browser) == []


def test_every_player_has_its_sound(page):
    durations = page.execute_async_script(LOADED)
    assert durations == pytest.approx([0.25] * (1 + 3 * 3))


def test_one_player_at_a_time(page):
    assert page.execute_async_script(PLAYED) == [True, False]


def test_every_picture_is_shown(page):
    script = (
        "return [...document.images].map((i) => [i.complete, i.naturalWidth])"
    )
    images = page.execute_script(script)
    assert len(images) == 3 + 11 + 4
    assert all(complete and width > 300 for complete, width in images)


@pytest.mark.parametrize("width", [360, 400, 1400])
def test_nothing_is_wider_than_the_screen(width, page):
    set_width(page, width)
    size = "const e = document.documentElement; return [e.scrollWidth, e.clientWidth]"
    needed, there = page.execute_script(size)
    assert needed == there and width - 20 <= there <= width
    assert page.execute_script(WIDE) == []


@pytest.mark.parametrize("width, some", [(360, True), (1400, False)])
def test_wide_tables_say_that_they_scroll(width, some, page):
    set_width(page, width)
    script = """return [...document.querySelectorAll(".scroll")].map((box) => [
      box.scrollWidth > box.clientWidth,
      box.previousElementSibling.offsetHeight > 0]);"""
    # The page sees a change of its width with the next frame, not at once.
    for _ in range(50):
        found = page.execute_script(script)
        if all(wide == hinted for wide, hinted in found):
            break
        time.sleep(0.1)
    assert all(wide == hinted for wide, hinted in found)
    assert any(wide for wide, _ in found) == some


def test_nothing_is_fetched(page):
    """Not even the icon."""
    script = (
        "return performance.getEntriesByType('resource').map((e) => e.name)"
    )
    fetched = page.execute_script(script)
    assert [name for name in fetched if not name.startswith("data:")] == []
