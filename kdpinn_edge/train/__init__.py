"""Problem → Teacher → Student, in torch float64."""

from kdpinn_edge.train.config import DistillConfig, TrainConfig
from kdpinn_edge.train.pinn import Pinn
from kdpinn_edge.train.progress import Progress
from kdpinn_edge.train.stages import Trained, distill, train
from kdpinn_edge.train.weights import load_pinn

__all__ = [
    "DistillConfig",
    "Pinn",
    "Progress",
    "TrainConfig",
    "Trained",
    "distill",
    "load_pinn",
    "train",
]
