"""What becomes ONNX: scikit-learn, Keras, Flax."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

os.environ.update(KERAS_BACKEND="torch", JAX_PLATFORMS="cpu")

import jax
import jax.numpy as jnp
import jax2onnx
import keras
import numpy as np
import pytest
import skl2onnx
from flax import linen, nnx
from numpy.typing import NDArray
from proof import check_bundle, check_compiled, relative, run_snippets
from sklearn.compose import TransformedTargetRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, PolynomialFeatures, RobustScaler, StandardScaler

import kdpinn_edge
from kdpinn_edge import Program, capture_onnx, interpret
from kdpinn_edge.errors import CaptureError
from kdpinn_edge.training import DistillConfig

INPUTS, OUTPUTS = "x=-1:1, y=-1:1", "u, v"
X = np.random.default_rng(0).uniform(-1, 1, (300, 2))
Y = np.stack([np.sin(3 * X[:, 0]), 5 * X[:, 0] * X[:, 1]], axis=1)
SINGLE = 2e-6
"""What the library's own float32 is off, relative to the largest value."""


def read(file: Path, predicted: NDArray[Any], tolerance: float, outputs: str = OUTPUTS) -> Program:
    program = capture_onnx(file, INPUTS, outputs)
    x = X if predicted.dtype == np.float64 else X.astype(np.float32).astype(np.float64)
    assert relative(interpret(program, x), predicted.reshape(len(X), -1).astype(np.float64)) <= tolerance
    check_compiled(program, -1.0, 1.0)
    return program


SCALERS: dict[str, list[Any]] = {
    "none": [],
    "standard": [StandardScaler()],
    "minimum and maximum": [MinMaxScaler((-1, 1))],
    "largest": [MaxAbsScaler()],
    "robust": [RobustScaler()],
    "two": [StandardScaler(with_mean=False), MinMaxScaler()],
    "polynomials": [StandardScaler(), PolynomialFeatures(2)],
}


@pytest.mark.parametrize("scaler", SCALERS)
def test_scikit_learn_scalers(scaler: str, tmp_path: Path) -> None:
    network = make_pipeline(*SCALERS[scaler], MLPRegressor(hidden_layer_sizes=(12, 12), activation="tanh", max_iter=20))
    network.fit(X, Y[:, 0])
    (tmp_path / "net.onnx").write_bytes(skl2onnx.to_onnx(network, X[:1]).SerializeToString())
    read(tmp_path / "net.onnx", network.predict(X), 1e-12, "u")


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_scikit_learn_activations(activation: str, tmp_path: Path) -> None:
    network = make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(8,), activation=activation, max_iter=20))
    network.fit(X, Y[:, 0])
    (tmp_path / "net.onnx").write_bytes(skl2onnx.to_onnx(network, X[:1].astype(np.float32)).SerializeToString())
    read(tmp_path / "net.onnx", network.predict(X.astype(np.float32)), SINGLE, "u")


def test_several_outputs_that_skl2onnx_writes_as_one_column_are_refused(tmp_path: Path) -> None:
    network = MLPRegressor(hidden_layer_sizes=(8,), max_iter=20).fit(X, Y)
    (tmp_path / "net.onnx").write_bytes(skl2onnx.to_onnx(network, X[:1]).SerializeToString())
    with pytest.raises(CaptureError, match="mixes points"):
        capture_onnx(tmp_path / "net.onnx", INPUTS, OUTPUTS)


def keras_models() -> dict[str, Any]:
    keras.utils.set_random_seed(0)
    layers = keras.layers
    x = layers.Input((2,))
    h = layers.Dense(8, "tanh")(x)
    branches = layers.Concatenate()([layers.Dense(8, "sigmoid")(h), layers.Multiply()([h, layers.Dense(8)(x)]), h])
    return {
        "normalised": keras.Sequential(
            [
                layers.Input((2,)),
                layers.Normalization(mean=[0.0, 1.0], variance=[4.0, 9.0]),
                layers.Dense(12, "tanh"),
                layers.Dense(2),
            ]
        ),
        "functional": keras.Model(x, layers.Dense(2)(branches)),
        "residual": keras.Model(x, layers.Dense(2)(layers.Add()([h, layers.Dense(8, "silu")(h)]))),
        "batch normalisation": keras.Sequential(
            [layers.Input((2,)), layers.Dense(8), layers.BatchNormalization(), layers.Dense(2)]
        ),
        "rescaled": keras.Sequential(
            [layers.Input((2,)), layers.Rescaling(2.0, -1.0), layers.Dense(8, "tanh"), layers.Dense(2)]
        ),
        **{
            name: keras.Sequential([layers.Input((2,)), layers.Dense(8, name), layers.Dense(2)])
            for name in (
                *(
                    "celu",
                    "elu",
                    "exponential",
                    "gelu",
                    "hard_sigmoid",
                    "hard_silu",
                    "leaky_relu",
                    "log_sigmoid",
                    "mish",
                ),
                *("relu", "relu6", "selu", "sigmoid", "silu", "softmax", "softplus", "softsign", "tanh", "squareplus"),
            )
        },
    }


KERAS = keras_models()


@pytest.mark.parametrize("name", KERAS)
def test_keras(name: str, tmp_path: Path) -> None:
    model = KERAS[name]
    model.compile("adam", "mse")
    model.fit(X, Y, epochs=1, verbose=0)
    model.export(tmp_path / "net.onnx", format="onnx", verbose=False)
    read(tmp_path / "net.onnx", model.predict(X, verbose=0), SINGLE)


class Nnx(nnx.Module):
    """A network in Flax's newer way."""

    def __init__(self, activation: Any) -> None:
        rngs = nnx.Rngs(0)
        self.first, self.last = nnx.Linear(2, 12, rngs=rngs), nnx.Linear(12, 2, rngs=rngs)
        self.activation = activation

    def __call__(self, x: Any) -> Any:
        return self.last(self.activation(self.first(x)))


FLAX: dict[str, Any] = {
    "tanh": jnp.tanh,
    "sin": jnp.sin,
    "gelu": nnx.gelu,
    "exact gelu": lambda x: nnx.gelu(x, approximate=False),
    "silu": nnx.silu,
    "softplus": nnx.softplus,
    "elu": nnx.elu,
    "relu": nnx.relu,
    "square root": lambda x: jnp.sqrt(1 + x**2),
    "a power": lambda x: (1 + x**2) ** -1.5,
}


@pytest.mark.parametrize("name", FLAX)
def test_flax(name: str, tmp_path: Path) -> None:
    net = Nnx(FLAX[name])
    jax2onnx.to_onnx(net, [("B", 2)], return_mode="file", output_path=str(tmp_path / "net.onnx"))
    read(tmp_path / "net.onnx", np.asarray(net(X.astype(np.float32))), SINGLE)


def test_jax_function_in_float64(tmp_path: Path) -> None:
    """A function of JAX over Flax's older modules, with a hard constraint."""
    net = linen.Sequential([linen.Dense(8), jnp.tanh, linen.Dense(2)])
    with jax.enable_x64(True):
        weights = net.init(jax.random.PRNGKey(0), jnp.asarray(X[:1]))

        def solution(x: Any) -> Any:
            return x[:, :1] * (1 - x[:, :1]) * net.apply(weights, x) + jnp.sin(jnp.pi * x[:, 1:])

        jax2onnx.to_onnx(
            solution,
            [("B", 2)],
            return_mode="file",
            output_path=str(tmp_path / "net.onnx"),
            enable_double_precision=True,
        )
        read(tmp_path / "net.onnx", np.asarray(solution(jnp.asarray(X))), 1e-12)


def test_targets_that_are_scaled_by_hand(tmp_path: Path) -> None:
    """skl2onnx does not write TransformedTargetRegressor: its network is written, and the scale is the user's."""
    network = TransformedTargetRegressor(
        MLPRegressor(hidden_layer_sizes=(12,), activation="tanh", max_iter=20), transformer=StandardScaler()
    )
    network.fit(X, Y[:, 0])
    (tmp_path / "net.onnx").write_bytes(skl2onnx.to_onnx(network.regressor_, X[:1]).SerializeToString())
    read(tmp_path / "net.onnx", network.regressor_.predict(X), 1e-12, "u")


def test_the_page_for_flax(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = nnx.Sequential(nnx.Linear(2, 8, rngs=nnx.Rngs(0)), jnp.tanh, nnx.Linear(8, 1, rngs=nnx.Rngs(1)))
    made = run_snippets("JAX and Flax", tmp_path, monkeypatch, network=network)
    predicted = np.asarray(network(X.astype(np.float32)))
    assert relative(interpret(made["program"], X.astype(np.float32).astype(np.float64)), predicted) <= SINGLE
    check_bundle(tmp_path / "flax")


def test_the_page_for_scikit_learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"MLPRegressor": MLPRegressor, "StandardScaler": StandardScaler, "make_pipeline": make_pipeline}
    made = run_snippets("scikit-learn", tmp_path, monkeypatch, Path=Path, X=X, y=Y[:, 0], **given)
    assert relative(interpret(made["program"], X), made["pipeline"].predict(X)[:, None]) <= 1e-12
    check_bundle(tmp_path / "mlp")


def test_the_page_for_keras_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = keras.layers
    model = keras.Sequential([layers.Input((2,)), layers.Dense(8, "tanh"), layers.Dense(1)])
    model.predict(X, verbose=0)  # Keras exports what was called
    made = run_snippets("Keras", tmp_path, monkeypatch, model=model)
    x = X.astype(np.float32)
    assert relative(interpret(made["program"], x.astype(np.float64)), model.predict(x, verbose=0)) <= SINGLE
    check_bundle(tmp_path / "keras")
    run_snippets("A file", tmp_path, monkeypatch)
    check_bundle(tmp_path / "keras_bundle")


def test_the_page_for_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def function(x: NDArray[Any]) -> NDArray[Any]:
        return np.sin(x[:, :1]) * x[:, 1:]

    config = DistillConfig(n_points=200, newton_rounds=1, newton_steps=2, adam_steps=5)
    monkeypatch.setattr(kdpinn_edge, "distill", functools.partial(kdpinn_edge.distill, config=config))
    run_snippets("When something is refused", tmp_path, monkeypatch, function=function)
    check_bundle(tmp_path / "student_bundle")
