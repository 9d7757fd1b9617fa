"""The same work on many items, over all cores."""

import collections
import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import types

import tqdm

from .errors import UserError


def parallel_map(function, items, unit="file", jobs=None, chunk=16, name=None):
    """Call a function on every item, in several processes, and yield the results.

    They come in the order of the items, and only a few of them wait to be
    taken, so that memory stays flat. An error ends it at once.

    Arguments
    ---------
    function : callable
        Takes an item. It and the items have to be picklable; it belongs to
        a module that is imported, whose imports cost each process their time.
    items : sequence
        What to call it on; slices of it go to the processes.
    unit : str
        What the progress bar counts.
    jobs : int, optional
        Processes; as many as there are cores by default. 1 is this process.
    chunk : int
        Items that a process takes at a time.
    name : str, optional
        What the progress bar says.

    Raises
    ------
    UserError
        When a process dies, most often for lack of memory.

    Example
    -------
    >>> list(parallel_map(abs, [-1, 2], jobs=1))
    [1, 2]
    """
    jobs = min(jobs or _cores(), -(-len(items) // chunk) or 1)
    results = (
        map(function, items)
        if jobs == 1
        else _in_processes(function, items, jobs, chunk)
    )
    with tqdm.tqdm(total=len(items), desc=name, unit=unit) as bar:
        for result in results:
            bar.update()
            yield result


def _cores():
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _in_processes(function, items, jobs, chunk):
    """The results of calls in processes, a few batches ahead."""
    waiting = collections.deque()
    with processes(jobs) as submit:
        for first in range(0, len(items), chunk):
            batch = items[first : first + chunk]
            waiting.append(submit(_call_all, function, batch))
            if len(waiting) > 3 * jobs:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _call_all(function, batch):
    return [function(item) for item in batch]


@contextlib.contextmanager
def processes(jobs):
    """So many processes that work beside this one within a block; with 0 it
    does the work.

    Yields
    ------
    callable
        Takes a function and its arguments, which have to be picklable, and
        gives a `concurrent.futures.Future`.

    Raises
    ------
    UserError
        When a process dies, most often for lack of memory.

    Example
    -------
    >>> with processes(0) as submit:
    ...     submit(max, 1, 2).result()
    2
    """
    if not jobs:
        yield call_now
        return
    pool = concurrent.futures.ProcessPoolExecutor(
        jobs,
        # Forking a process with threads (torch has some) can hang.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
    )

    def _submit(*call):
        with _starting():
            return pool.submit(*call)

    try:
        yield _submit
    except concurrent.futures.process.BrokenProcessPool as error:
        raise UserError(
            "A process at work was killed, most often for lack of memory. "
            "Free some and run the same command again."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def call_now(function, *arguments):
    """What `processes` yields where there are none."""
    done = concurrent.futures.Future()
    done.set_result(function(*arguments))
    return done


@contextlib.contextmanager
def _starting():
    """Processes that start in this block do not import the program that is
    running, PyTorch and all, and Ctrl-C does not reach them before they
    ignore it.
    """
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    program = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = program
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)  # may raise


def _start_worker():
    """Only the parent answers Ctrl-C; and no worker outlives it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent():
    multiprocessing.parent_process().join()
    os._exit(1)
