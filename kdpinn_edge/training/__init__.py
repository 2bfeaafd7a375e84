"""Problem → Teacher → Student, in torch float64."""

from kdpinn_edge.training.config import DistillConfig, TrainConfig
from kdpinn_edge.training.pinn import Pinn
from kdpinn_edge.training.progress import TrainingProgress
from kdpinn_edge.training.stages import teach, train
from kdpinn_edge.training.trained import Trained
from kdpinn_edge.training.weights import load_pinn, write_weights

__all__ = [
    "DistillConfig",
    "Pinn",
    "TrainConfig",
    "Trained",
    "TrainingProgress",
    "load_pinn",
    "teach",
    "train",
    "write_weights",
]
