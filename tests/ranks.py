"""Runs a function in several processes that make a distributed run."""

import multiprocessing
import os
import signal
import socket
import sys
import time

import torch

from dpcl_dprnn.common.distributed import leave_group


def on_ranks(function, folder, ranks=2, group=True):
    """What a function of a module, or a partial of one, returns in each of
    some processes, as a list.

    The folder, for the results, is of this call alone. train.py forms the
    group for itself.
    """
    for status, said in endings(function, folder, ranks, group):
        assert status == 0, said
    return [
        torch.load(folder / f"result{rank}", weights_only=False)
        for rank in range(ranks)
    ]


def endings(function, folder, ranks=2, group=False, timeout=60):
    """How each of some processes ends: its exit status and its stderr.

    Those that take longer than the timeout are killed, with status None.
    """
    # A fork has all imported, but cannot use a GPU that its parent has used.
    method = "spawn" if torch.cuda.is_available() else "fork"
    context = multiprocessing.get_context(method)
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    processes = [
        context.Process(
            target=_run, args=(function, folder, rank, ranks, group, port)
        )
        for rank in range(ranks)
    ]
    for process in processes:
        process.start()
    end = time.monotonic() + timeout
    for process in processes:
        process.join(max(0, end - time.monotonic()))
    statuses = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    said = [(folder / f"stderr{rank}").read_text() for rank in range(ranks)]
    return list(zip(statuses, said, strict=True))


def _run(function, folder, rank, ranks, group, port):
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # The tests' own has no file, and the last lines count.
    sys.stderr = open(folder / f"stderr{rank}", "w", buffering=1)
    if group:
        torch.distributed.init_process_group("gloo")
        torch.distributed.barrier()  # none may end while another joins
    torch.save(function(), folder / f"result{rank}")
    leave_group()
