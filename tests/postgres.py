"""A PostgreSQL cluster of a test's own: in a new folder, on loopback, with a port that is free."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534
"""PostgreSQL refuses to run as root; then it runs as this user."""
PATIENCE_SECONDS = 120.0


def tool(name: str) -> str | None:
    """The path of a program of PostgreSQL, which Debian keeps out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


@contextmanager
def cluster(initdb: str, postgres: str) -> Iterator[str]:
    """Start a cluster; yields the URL of its database for SQLAlchemy, and ends it."""
    user = NOBODY if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory() as home:
        if user is not None:
            os.chown(home, user, user)
        data = Path(home) / "data"
        words = [initdb, "--auth", "trust", "--username", "tester", "--no-sync", "--encoding", "UTF8", str(data)]
        made = subprocess.run(words, user=user, cwd=home, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        words = [postgres, "-D", str(data), "-h", "127.0.0.1", "-p", str(port), "-k", "", "-F"]
        with (Path(home) / "log").open("w") as log, subprocess.Popen(words, user=user, cwd=home, stderr=log) as server:
            try:
                _wait(port, server)
                yield f"postgresql+psycopg://tester@127.0.0.1:{port}/postgres"
            finally:
                server.send_signal(signal.SIGINT)  # ends connections, and then itself
                server.wait(PATIENCE_SECONDS)


def _wait(port: int, server: subprocess.Popen[bytes]) -> None:
    import psycopg

    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            psycopg.connect(host="127.0.0.1", port=port, user="tester", dbname="postgres").close()
        except psycopg.OperationalError:
            assert server.poll() is None
            assert time.monotonic() < end
            time.sleep(0.2)
        else:
            return
