"""The same work on many items, over all cores."""

import collections
import concurrent.futures
import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
import threading

import tqdm

from .errors import UserError


def parallel_map(
    function, items, unit="file", jobs=None, chunk=16, progress=True, name=None
):
    """Call a function on every item, in several processes.

    Results come in the order of the items, and only a few of them wait to be
    taken, so that memory stays flat. An error ends it at once.

    Arguments
    ---------
    function : callable
        Takes an item. It and the items have to be picklable, and what its
        module imports costs each process that time.
    items : sequence
        What to call it on.
    unit : str
        What the progress bar counts.
    jobs : int, optional
        Processes; as many as there are cores by default. 1 is this process.
    chunk : int
        Items that a process takes at a time.
    progress : bool
        Whether to show a progress bar.
    name : str, optional
        What the progress bar says.

    Yields
    ------
    object
        What the function returned.

    Raises
    ------
    UserError
        When a process dies, most often for lack of memory.

    Example
    -------
    >>> list(parallel_map(abs, [-1, 2], jobs=1, progress=False))
    [1, 2]
    """
    jobs = min(jobs or _cores(), -(-len(items) // chunk) or 1)
    results = (
        map(function, items)
        if jobs == 1
        else _in_processes(function, items, jobs, chunk)
    )
    with tqdm.tqdm(
        total=len(items), desc=name, unit=unit, disable=not progress
    ) as bar:
        for result in results:
            bar.update()
            yield result


def _cores():
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _in_processes(function, items, jobs, chunk):
    waiting = collections.deque()
    with processes(jobs) as submit:
        for batch in _batches(items, chunk):
            waiting.append(submit(_call_all, function, batch))
            if len(waiting) > 3 * jobs:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


@contextlib.contextmanager
def processes(jobs):
    """Processes that work beside this one within a block.

    Arguments
    ---------
    jobs : int
        How many; with 0 the work is done by this one.

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

    def submit(function, *arguments):
        called = arguments[0] if function is _call_all else function
        with _starting(called):
            return pool.submit(function, *arguments)

    try:
        yield submit
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
def _starting(function):
    """What processes that start in this block are spared.

    They would import the program that is running, PyTorch and all, although
    they call a function of another module; and Ctrl-C in their first second,
    before they ignore it, would show their tracebacks.
    """
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    main, hidden = vars(sys.modules["__main__"]), {}
    if getattr(function, "__module__", None) != "__main__":
        names = {"__file__", "__spec__"} & main.keys()
        hidden = {name: main.pop(name) for name in names}
        main["__spec__"] = None
    try:
        yield
    finally:
        main.update(hidden)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)  # may raise


def _batches(items, size):
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def _call_all(function, batch):
    return [function(item) for item in batch]


def _start_worker():
    """Only the parent answers Ctrl-C; and no worker outlives it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent():
    multiprocessing.parent_process().join()
    os._exit(1)
