"""Work on all cores: in order, with flat memory, and with a clean end."""

import concurrent.futures
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

import dpcl_dprnn
from dpcl_dprnn.common.errors import UserError
from dpcl_dprnn.common.parallel import parallel_map, processes

PACKAGE = pathlib.Path(dpcl_dprnn.__file__).parents[1]
DEADLINE = 60  # seconds; far more than is needed

# Its workers say on the standard output, which they inherit, that they work.
SLOW_WORK = """
import os, time

def work(seconds):
    os.write(1, b"working\\n")
    time.sleep(seconds)
"""
SLOW_PROGRAM = """
from dpcl_dprnn.common.parallel import parallel_map
from slow_work import work

for _ in parallel_map(work, [{seconds}] * 1000, jobs=2, chunk=1):
    pass
"""

# A program that takes note of each process that imports it.
NOTED_PROGRAM = """
import os, pathlib, sys
from dpcl_dprnn.common.parallel import parallel_map

with open("imports.txt", "a") as file:
    file.write(f"{os.getpid()}\\n")

paths = [pathlib.Path("a", str(n)) for n in range(5)]
main = sys.modules["__main__"]
results = parallel_map(os.path.basename, paths, jobs=2, chunk=1)
for number, result in enumerate(results):
    assert result == str(number)
    assert sys.modules["__main__"] is main
"""


def wait_for(condition):
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def square(number):
    return number * number


def meet(folder):
    """Return when two processes are in here."""
    (folder / str(os.getpid())).touch()
    wait_for(lambda: len(list(folder.iterdir())) == 2)
    return os.getpid()


def leave_a_mark(path):
    path.touch()
    return path.name


def blocked_signals(_):
    time.sleep(0.05)  # so that all processes get some work
    return os.getpid(), signal.pthread_sigmask(signal.SIG_BLOCK, [])


def interrupt_oneself(number):
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0)
    except KeyboardInterrupt:
        return "interrupted"
    return number


def fail_at_five(number):
    if number == 5:
        raise UserError("five.wav is silent. Remove the file.")
    if number == -1:
        raise KeyError("a bug")
    return number


def die_at_five(number):
    if number == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def run(function, items, jobs, chunk=2):
    return parallel_map(function, items, jobs=jobs, chunk=chunk)


@pytest.mark.parametrize("jobs", [1, 3, None])
@pytest.mark.parametrize("count, chunk", [(0, 2), (1, 2), (25, 2), (25, 100)])
def test_results_come_in_order(jobs, count, chunk):
    items = range(count)
    assert list(run(square, items, jobs, chunk)) == [n * n for n in items]


def test_work_is_shared(tmp_path):
    pids = list(run(meet, [tmp_path] * 2, jobs=2, chunk=1))
    assert len({*pids, os.getpid()}) == 3


def test_one_job_is_this_process():
    """A lambda could not go to another."""
    assert list(run(lambda n: -n, [1, 2, 3], jobs=1)) == [-1, -2, -3]
    # As is what one process would do alone: starting it takes longer.
    assert list(run(lambda n: -n, [1, 2, 3], jobs=3, chunk=3)) == [-1, -2, -3]


class Watched(list):
    """A list that counts how much of it was taken."""

    taken = 0

    def __iter__(self):
        for item in super().__iter__():
            self.taken += 1
            yield item

    def __getitem__(self, part):
        taken = super().__getitem__(part)
        self.taken += len(taken) if isinstance(part, slice) else 0
        return taken


@pytest.mark.parametrize("jobs, most", [(1, 1), (2, 3 * (3 * 2 + 1))])
def test_work_is_never_far_ahead(jobs, most):
    """So that what waits to be taken stays small."""
    items = Watched(range(100))
    results = run(square, items, jobs, chunk=3)
    ahead = [items.taken - number for number, _ in enumerate(results)]
    assert len(ahead) == 100 and max(ahead) <= most


def test_who_stops_leaves_the_rest_undone(tmp_path):
    items = Watched(tmp_path / str(n) for n in range(100))
    results = run(leave_a_mark, items, jobs=2, chunk=1)
    assert next(results) == "0"
    results.close()
    marks = len(list(tmp_path.iterdir()))
    assert 1 <= marks <= items.taken < 20
    assert items[0].exists() and not items[50].exists()


def test_workers_leave_ctrl_c_to_the_parent():
    assert list(run(interrupt_oneself, range(8), jobs=2)) == list(range(8))


def test_workers_cannot_be_interrupted_while_they_start():
    """They inherit what is blocked; here nothing stays so."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    results = run(blocked_signals, range(8), jobs=2, chunk=1)
    masks = {}
    for pid, mask in results:
        masks[pid] = mask
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
    assert signal.SIGINT not in before and os.getpid() not in masks
    assert all(signal.SIGINT in mask for mask in masks.values())


@pytest.mark.parametrize("program", [["noted.py"], ["-m", "noted"]])
def test_program_is_not_imported_by_its_workers(program, tmp_path):
    """Its imports, PyTorch's among them, would take each process seconds."""
    (tmp_path / "noted.py").write_text(NOTED_PROGRAM)
    done = subprocess.run(
        [sys.executable, *program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "imports.txt").read_text().count("\n") == 1


def test_interrupted_start_leaves_the_program_as_it_was(monkeypatch):
    """Ctrl-C arrives when it is no longer blocked."""
    main = sys.modules["__main__"]

    def interrupt(*_):
        os.kill(os.getpid(), signal.SIGINT)
        raise KeyError

    monkeypatch.setattr(
        concurrent.futures.ProcessPoolExecutor, "submit", interrupt
    )
    with pytest.raises(KeyboardInterrupt):
        list(run(square, range(8), jobs=2))
    assert sys.modules["__main__"] is main
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_cores_are_those_that_the_process_may_use(monkeypatch):
    """Of a batch job, fewer than the computer has."""
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    # A lambda could not go to another process.
    assert list(run(lambda n: -n, range(9), jobs=None)) == list(
        range(0, -9, -1)
    )


@pytest.mark.parametrize("jobs", [1, 2])
def test_exception_arrives_as_itself(jobs):
    results = run(fail_at_five, [0, 1, 2, 3, 4, 5, 6, 7], jobs)
    assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(UserError) as caught:
        list(results)
    assert str(caught.value) == "five.wav is silent. Remove the file."
    with pytest.raises(KeyError, match="a bug"):
        list(run(fail_at_five, [0, 1, 2, -1], jobs))


def test_worker_that_dies_is_the_users_to_mend():
    before = set(multiprocessing.active_children())
    with pytest.raises(UserError, match="lack of memory") as caught:
        list(run(die_at_five, range(100), jobs=2))
    assert "\n" not in str(caught.value)
    assert set(multiprocessing.active_children()) == before


def test_no_worker_is_left_where_the_caller_stops():
    before = set(multiprocessing.active_children())
    results = run(square, range(30), jobs=2)
    next(results)
    results.close()
    assert set(multiprocessing.active_children()) == before


@pytest.mark.parametrize("jobs", [1, 2])
def test_progress_bar_counts_items(capsys, jobs):
    list(parallel_map(square, range(7), "mixture", jobs, 2, name="mixing"))
    bar = capsys.readouterr().err.splitlines()[-1].rpartition("\r")[2]
    assert bar.startswith("mixing: 100%") and "7/7" in bar
    assert "mixture" in bar


@pytest.mark.parametrize("jobs", [0, 2])
def test_calls_beside_other_work(jobs):
    before = set(multiprocessing.active_children())
    with processes(jobs) as submit:
        futures = [submit(square, number) for number in range(5)]
        assert [future.result() for future in futures] == [0, 1, 4, 9, 16]
    assert set(multiprocessing.active_children()) == before


@pytest.fixture
def start(tmp_path):
    """Start a program of slow work, and wait until both workers are at it."""
    started = []

    def start(seconds):
        program = tmp_path / "slow.py"
        (tmp_path / "slow_work.py").write_text(SLOW_WORK)
        program.write_text(SLOW_PROGRAM.format(seconds=seconds))
        process = subprocess.Popen(
            [sys.executable, program],
            env={**os.environ, "PYTHONPATH": str(PACKAGE)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C reaches all of it, and not us
        )
        started.append(process)
        for _ in range(2):
            assert process.stdout.readline() == "working\n"
        return process

    yield start
    for process in started:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


def test_workers_do_not_outlive_a_killed_parent(start):
    """Their standard output ends when the last of them is gone."""
    process = start(seconds=10 * DEADLINE)
    process.kill()
    process.communicate(timeout=DEADLINE)
    assert process.returncode == -signal.SIGKILL


def test_ctrl_c_ends_all_of_it(start):
    """A terminal sends it to all processes; one of them speaks."""
    process = start(seconds=0.2)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == -signal.SIGINT
    assert errors.count("Traceback (most recent call last)") == 1
    assert errors.rstrip().endswith("KeyboardInterrupt")
