"""The versions of installed packages: each is read from its metadata once, since every file of a bundle names some."""

from __future__ import annotations

import importlib.metadata
from functools import cache

version = cache(importlib.metadata.version)
