"""The background load: on each processor a process that writes through memory when told to, and never for long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from time import monotonic

import numpy as np

from kdpinn_edge.comparison.worker import spawning

BYTES = 64 << 20
CHUNK = 1 << 20


class Background:
    """The background load: processes that wait for `running`."""

    def __init__(self, connections: list[Connection]) -> None:
        self._connections = connections

    @contextmanager
    def running(self, at_most_s: float) -> Iterator[None]:
        """Let the processes compute within this context; each stops by itself after `at_most_s`."""
        for connection in self._connections:
            connection.send(at_most_s)
        try:
            yield
        finally:
            for connection in self._connections:
                connection.send(0.0)
                connection.recv()


@contextmanager
def background(cpus: tuple[int, ...]) -> Iterator[Background]:
    """Start one process on each of `cpus`; they end with the context."""
    context = get_context("spawn")
    with ExitStack() as stack:
        connections = []
        for cpu in cpus:
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs,), daemon=True)
            with spawning((cpu,)):
                process.start()
            theirs.close()
            stack.callback(process.join)
            stack.callback(process.kill)
            connections.append(stack.enter_context(ours))
        yield Background(connections)


def _serve(connection: Connection) -> None:
    memory = np.zeros(BYTES, np.uint8)
    try:
        while True:
            end_s = monotonic() + connection.recv()
            at = 0
            while not connection.poll() and monotonic() < end_s:
                memory[at : at + CHUNK] += 1
                at = (at + CHUNK) % BYTES
            connection.recv()
            connection.send(None)
    except EOFError:
        return
