"""What all tests share: artifacts, and a tool of the system, or a skip that CI does not accept."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # workers share the cores: pools would wait

import pytest
import typer.testing
from artifacts import Artifacts
from chromium import Page, chromium
from hypothesis import settings

from kdpinn_edge.runtime.c_harness import CHarness, compiled_harness

settings.register_profile("unhurried", deadline=None)  # how long an example takes says nothing about its result
settings.load_profile("unhurried")

typer.testing._get_command = cache(typer.testing._get_command)  # or each call would read the options of all commands

collect_ignore = ["libraries"]  # in an environment of their own: make verify-libraries

Need = Callable[[str], str]


def pytest_collectstart() -> None:
    """Let the garbage collector rest while tests are imported: it would look at all of it nine times."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Let the garbage collector begin, seldom, and leave alone what was imported, nearly a million objects."""
    gc.freeze()
    gc.set_threshold(50_000)
    gc.enable()


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    """Where a session keeps what it made; workers lie side by side in its folder."""
    folder = tmp_path_factory.getbasetemp()
    return Artifacts((folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "artifacts")


@pytest.fixture(scope="session")
def need() -> Need:
    """`need("cmake")` is the path of cmake; where it is missing the test is skipped, or fails when CI=true."""

    def path(tool: str) -> str:
        found = shutil.which(tool)
        if found is None:
            reason = f"{tool} is not on PATH"
            if os.environ.get("CI") == "true":
                pytest.fail(f"{reason}, and CI installs it: see .ci/run")
            pytest.skip(reason)
        return found

    return path


@pytest.fixture(scope="session")
def harness(need: Need) -> Iterator[CHarness]:
    """The C program that calls and times libraries, compiled once in each worker."""
    with compiled_harness(need("cc")) as compiled:
        yield compiled


@pytest.fixture(scope="session")
def browser(need: Need) -> Iterator[Page]:
    """A page of Chromium, which starts once in each worker: whoever opens a file finds it as new."""
    with chromium(need("chromium")) as page:
        yield page
