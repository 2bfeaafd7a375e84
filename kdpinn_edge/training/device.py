"""Where a run calculates."""

from __future__ import annotations

import torch

from kdpinn_edge.errors import TrainError


def find_device(name: str) -> torch.device:
    """The device that a config calls `name`: cpu, cuda, cuda:1. Raises TrainError where torch finds none such."""
    cards = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    expected = ["cpu", *(["cuda", *cards] if cards else [])]
    if name not in expected:
        built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
        raise TrainError(
            f"there is no device {name!r}; expected on this machine: {', '.join(expected)}. Its torch, "
            f"{torch.__version__}, is built {built}; where a card is missing, install its driver and a torch that is "
            "built for it: https://pytorch.org/get-started/locally"
        )
    return torch.device(name)
