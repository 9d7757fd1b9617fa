"""Writing mixtures outlives kills, crashes, full disks and second thoughts."""

import itertools
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest
import wsj0_tree

import prepare_data
from dpcl_dprnn.mixtures import rendering
from dpcl_dprnn.mixtures.sets import mix_wsj0

SCRIPT = pathlib.Path(prepare_data.__file__)
STEMS = tuple(wsj0_tree.utterances())[3:9]  # none is compressed
COUNTS = {"few": 20, "other": 20, "many": 150}


def make_list(name):
    """Mixtures of a few utterances, told apart by their gains."""
    paths = [wsj0_tree.utterances()[stem] for stem in STEMS]
    pairs = itertools.cycle(itertools.permutations(paths, 2))
    first = 301 if name == "other" else 1
    gains = [f"{(first + n) / 200:.5g}" for n in range(COUNTS[name])]
    lines = [
        f"{a} {g} {b} -{g} \n" for g, (a, b) in zip(gains, pairs, strict=False)
    ]
    return "".join(lines)


class Work:
    """A command, and where it leaves its files."""

    def __init__(self, base, out, lists):
        self.base, self.out, self.lists = base, out, base / lists
        self.above = out / "2speakers" / "wav8k" / "min"
        self.folder = self.above / "tr"
        self.partial = self.above / ".tr-unfinished"

    def words(self, *more):
        return [
            *("wsj0", "--wsj0", str(self.base / "discs")),
            *("--lists", str(self.lists), "--out", str(self.out)),
            *("--splits", "tr", *more),
        ]

    def run(self, **options):
        """The same in this process."""
        options = {"jobs": 1, **options}
        places = (self.base / "discs", self.lists, self.out)
        return mix_wsj0(*places, splits=["tr"], **options)

    def finished(self):
        """The stamps of mixtures and sources that are whole, `kind/name`."""
        folder = self.folder if self.folder.exists() else self.partial
        names = [path.name for path in folder.glob("mix/[!.]*")]
        paths = [folder / k / n for n in names for k in ("mix", "s1", "s2")]
        found = wsj0_tree.stamps(paths).items()
        return {path.relative_to(folder): stamp for path, stamp in found}

    def hidden_files(self):
        files = (path for path in self.out.rglob(".*") if path.is_file())
        return list(files)

    def check(self, undisturbed, kept=None):
        """The same bytes, nothing else, and what was whole is kept."""
        contents = wsj0_tree.contents(undisturbed.out)
        assert len(contents) == 3 * COUNTS[self.lists.name] + 1
        assert wsj0_tree.contents(self.out) == contents
        assert list(self.above.iterdir()) == [self.folder]
        finished = self.finished()
        assert kept is None or {k: finished[k] for k in kept} == kept


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    base = tmp_path_factory.mktemp("mes données")
    wsj0_tree.make_wsj0(base / "discs")
    for name in COUNTS:
        wsj0_tree.write_lists(base / name, {"tr": make_list(name)})
    return base


@pytest.fixture(scope="module")
def undisturbed(base):
    """What the lists become, each below a folder that nobody touches."""
    works = {name: Work(base, base / f"{name}-out", name) for name in COUNTS}
    for work in works.values():
        work.run()
    return works


@pytest.fixture
def few(base, tmp_path):
    return Work(base, tmp_path / "out", "few")


@pytest.fixture
def command(capsys):
    """Run prepare_data.py here; give its exit status and last line."""
    handler = signal.getsignal(signal.SIGTERM)

    def run(words):
        status = prepare_data.main(words)
        lines = capsys.readouterr().err.strip().splitlines()
        assert not any("Traceback" in line for line in lines)
        return status, lines[-1] if lines else ""

    yield run
    signal.signal(signal.SIGTERM, handler)


def wait_for(condition, process):
    """Until it is so; the process must not end before."""
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)


@pytest.mark.parametrize(
    "number, kill, status",
    [
        (signal.SIGKILL, os.killpg, -signal.SIGKILL),
        (signal.SIGINT, os.killpg, 130),
        (signal.SIGTERM, os.kill, 143),
    ],
    ids=["SIGKILL", "Ctrl-C", "SIGTERM"],
)
def test_killed_and_started_again(
    base, tmp_path, undisturbed, command, number, kill, status
):
    """Several processes at work are stopped at any time."""
    work = Work(base, tmp_path / "out", "many")
    process = subprocess.Popen(
        [sys.executable, SCRIPT, *work.words("--jobs", "2")],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: len(list(work.partial.glob("mix/*"))) > 6, process)
    kill(process.pid, number)
    said = process.communicate()[1]
    assert process.returncode == status and "Traceback" not in said
    assert list(work.above.iterdir()) == [work.partial]
    if number != signal.SIGKILL:
        assert not work.hidden_files()
    kept = work.finished()
    assert 15 <= len(kept) < 3 * COUNTS["many"]
    assert command(work.words("--jobs", "1"))[0] == 0
    work.check(undisturbed["many"], kept)


KILLED_WHILE_WRITING = """
import os, signal, sys, prepare_data

replace, calls = os.replace, iter(range(100))

def killed(temporary, path):
    if next(calls) < 32:
        return replace(temporary, path)
    os.truncate(temporary, os.path.getsize(temporary) // 2)
    os.kill(os.getpid(), signal.SIGKILL)

os.replace = killed
prepare_data.main(sys.argv[1:])
"""


def test_killed_while_writing_a_file(few, undisturbed, command):
    """Of the eleventh mixture's second file there is a half."""
    words = few.words("--jobs", "1")
    done = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_WRITING, *words],
        cwd=SCRIPT.parent,
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    kept = few.finished()
    assert len(kept) == 30 and len(few.hidden_files()) == 1
    # As a kill at the very beginning leaves it.
    (few.partial / ".half.json").write_text("{")
    assert command(words)[0] == 0
    few.check(undisturbed["few"], kept)


@pytest.fixture
def interrupt(monkeypatch):
    """Stop a run with Ctrl-C before it writes one of its files."""

    def run(work, files):
        write, calls = rendering.write_wav, itertools.count()

        def interrupted(*args):
            if next(calls) == files:
                raise KeyboardInterrupt
            write(*args)

        with monkeypatch.context() as patch:
            patch.setattr(rendering, "write_wav", interrupted)
            with pytest.raises(KeyboardInterrupt):
                work.run()
        assert len(work.finished()) == files // 3 * 3
        return work.finished()

    return run


def test_damaged_files_are_made_again(few, interrupt, undisturbed, caplog):
    """A crash of the computer may leave empty ones; the others are kept."""
    caplog.set_level("INFO")
    kept = interrupt(few, 3 * 12)
    one, other, *intact = sorted({path.name for path in kept})
    os.truncate(few.partial / "mix" / one, 0)
    (few.partial / "s2" / other).unlink()
    few.run()
    kept = {key: stamp for key, stamp in kept.items() if key.name in intact}
    assert len(kept) == 3 * 10 and "removed" not in caplog.text
    few.check(undisturbed["few"], kept)


def test_leftovers_of_other_options_go(
    base, few, interrupt, undisturbed, caplog
):
    caplog.set_level("INFO")
    interrupt(Work(base, few.out, "other"), 10)
    few.run()
    assert f"{few.partial} was left by another run: removed" in caplog.text
    few.check(undisturbed["few"])


def on_disk(folder):
    """What files take there, in blocks."""
    sizes = [len(data) for data in wsj0_tree.contents(folder).values()]
    return sum(-(-size // 4096) * 4096 for size in sizes)


@pytest.fixture
def mount(tmp_path):
    """A file system in memory, as small as need be."""
    folder = tmp_path / "ein Datenträger"
    folder.mkdir()

    def run(options):
        words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        try:
            done = subprocess.run(words, capture_output=True)
        except FileNotFoundError:
            pytest.skip("there is no mount")
        if done.returncode:
            pytest.skip("only the superuser can mount")
        return folder

    yield run
    if os.path.ismount(folder):
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_disk_fills_up(base, mount, undisturbed, command, jobs):
    """Then there is more space."""
    size = on_disk(undisturbed["few"].out)
    work = Work(base, mount(f"size={size // 2}") / "out", "few")
    status, line = command(work.words("--jobs", jobs))
    assert status == 1 and line.startswith("prepare_data.py: error: ")
    assert f"Cannot write {work.partial}" in line and ".wav: " in line
    assert not work.folder.exists() and not work.hidden_files()
    kept = work.finished()
    assert len(kept) > 9
    mount(f"remount,size={4 * size}")
    assert command(work.words("--jobs", "1"))[0] == 0
    work.check(undisturbed["few"], kept)


def test_file_may_not_grow(few, undisturbed, command):
    """A limit of the process in place of a full disk, for any user."""
    contents = wsj0_tree.contents(undisturbed["few"].out)
    sizes = sorted({len(data) for data in contents.values()})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (sizes[-1] - 1, limits[1]))
    try:
        status, line = command(few.words("--jobs", "1"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert status == 1 and "Cannot write" in line and ".wav: " in line
    assert not few.folder.exists() and not few.hidden_files()
    kept = few.finished()
    assert kept
    assert command(few.words("--jobs", "1"))[0] == 0
    few.check(undisturbed["few"], kept)


def test_read_only_disk(base, mount, command):
    folder = mount("ro")
    status, line = command(Work(base, folder / "out", "few").words())
    assert status == 1 and "Cannot write" in line
    assert "Read-only file system. Choose a folder that you may" in line
    assert list(folder.iterdir()) == []


def lose_folders(folder):
    for kind in ("mix", "s1"):
        shutil.rmtree(folder / kind)


@pytest.mark.parametrize(
    "lose, kept",
    [
        (lambda folder: sorted(folder.glob("s2/*"))[3].unlink(), 19),
        (lose_folders, 0),
        (lambda folder: os.truncate(sorted(folder.glob("s1/*"))[5], 0), 19),
    ],
    ids=["a file", "folders", "what is in a file"],
)
def test_finished_split_that_lost_files(few, undisturbed, caplog, lose, kept):
    """It is unfinished again, and what is whole is not touched."""
    few.run()
    before = few.finished()
    lose(few.folder)
    assert few.run()[1]
    assert f"{few.folder} lacks files: they are made again" in caplog.text
    few.check(undisturbed["few"])
    after = few.finished()
    same = {key for key in before if before[key] == after[key]}
    assert len(same) == 3 * kept
