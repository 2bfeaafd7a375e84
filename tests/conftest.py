"""What all tests share: a tool of the system, or a skip that CI does not accept."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import pytest
from hypothesis import settings

settings.register_profile("unhurried", deadline=None)  # how long an example takes says nothing about its result
settings.load_profile("unhurried")

Need = Callable[[str], str]


@pytest.fixture
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
