"""DNN: the forms in which it takes data, and how it is copied and kept."""

from __future__ import annotations

import copy
import pickle
import re
from array import array as python_array
from typing import Any

import numpy as np
import pytest
from kernel_cases import assert_close, each_dtype
from network_cases import (
    COMBINATIONS,
    assert_same_bits,
    problem,
    randomise,
    reference_gradients,
)

import fastdnn

# --- forms of data --------------------------------------------------------------------------------


def unaligned(values: np.ndarray) -> np.ndarray:
    raw = np.zeros(values.nbytes + 1, np.uint8)[1:]
    array = raw.view(values.dtype).reshape(values.shape)
    array[...] = values
    assert not array.flags.aligned
    return array


def read_only(values: np.ndarray) -> np.ndarray:
    values = values.copy(order="K")
    values.flags.writeable = False
    return values


def spread(values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The same values as a view with these steps into a larger array of other numbers."""
    n, m = values.shape
    whole = np.full((n * abs(rows), m * abs(columns)), -7.0, values.dtype)
    view = whole[::rows, ::columns]
    view[...] = values
    return view


class ArrayLike:
    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.values if dtype is None else self.values.astype(dtype)


class Subclass(np.ndarray):
    pass


# Whole numbers from 0 to 120, which every type below holds exactly.
FORMS = {
    "float64": lambda X: X.astype("f8"),
    "float32": lambda X: X.astype("f4"),
    "float16": lambda X: X.astype("f2"),
    "fortran float32": lambda X: np.asfortranarray(X, "f4"),
    "fortran float64": lambda X: np.asfortranarray(X, "f8"),
    "rows of examples": lambda X: np.ascontiguousarray(X.T, "f4").T,
    "strided rows": lambda X: spread(X.astype("f4"), 2, 1),
    "strided columns": lambda X: spread(X.astype("f8"), 1, 3),
    "negative strides": lambda X: spread(X.astype("f4"), -1, -1),
    "negative rows": lambda X: spread(X.astype("f8"), -2, 1),
    "read-only": lambda X: read_only(X.astype("f4")),
    "read-only float64": lambda X: read_only(X.astype("f8")),
    "read-only fortran": lambda X: read_only(np.asfortranarray(X, "f4")),
    "read-only strided": lambda X: read_only(spread(X.astype("f4"), 2, 2))[:],
    "big-endian": lambda X: X.astype(">f4"),
    "big-endian float64": lambda X: X.astype(">f8"),
    "big-endian integers": lambda X: X.astype(">i2"),
    "unaligned": lambda X: unaligned(X.astype("f4")),
    "unaligned float64": lambda X: unaligned(X.astype("f8")),
    "int64": lambda X: X.astype("i8"),
    "int8": lambda X: X.astype("i1"),
    "uint8": lambda X: X.astype("u1"),
    "uint64": lambda X: X.astype("u8"),
    "fortran uint8": lambda X: np.asfortranarray(X, "u1"),
    "subclass": lambda X: X.astype("f4").view(Subclass),
    "array-like": lambda X: ArrayLike(X.astype("f4")),
    "lists": lambda X: X.tolist(),
    "tuples of arrays": lambda X: tuple(python_array("d", row) for row in X.tolist()),
}


def image(value: Any) -> Any:
    """What must be unchanged afterwards: values, and memory between them."""
    if isinstance(value, np.ndarray):
        whole = value if value.base is None or value.base.ndim != 2 else value.base
        return whole.tobytes(), value.tobytes(), value.dtype, value.strides, str(value.flags)
    return copy.deepcopy(value.values if isinstance(value, ArrayLike) else value)


def use_everything(net: fastdnn.DNN, X: Any, Y: Any) -> dict[str, Any]:
    """The results of every call that takes data."""
    results: dict[str, Any] = {"forward": net.forward(X), "predict": net.predict(X)}
    results |= net.gradients(X, Y)
    results["evaluate"] = list(net.evaluate(X, Y).values())
    results["train_step"] = net.train_step(X, Y, learning_rate=1e-3)
    full = net.fit(X, Y, epochs=2, learning_rate=1e-3, validation_data=(X, Y))
    batch = net.fit(X, Y, epochs=2, batch_size=4, learning_rate=1e-3)
    results["fit"] = full.cost + full.validation_cost + full.validation_metric + batch.cost
    return results | net.parameters


class TestFormsOfX:
    X = np.random.default_rng(0).integers(0, 121, (37, 11)).astype("f8")
    Y = np.random.default_rng(1).integers(0, 2, (1, 11)).astype("f8")

    def net(self, dtype: str) -> fastdnn.DNN:
        net = randomise(fastdnn.DNN([37, 4, 1], hidden_activation="tanh", dtype=dtype))
        net.parameters["W1"][...] /= 512
        return net

    @each_dtype
    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("m", [11, 2, 1])
    def test_every_form_gives_the_same_bits_and_is_left_alone(self, m, form, dtype):
        numbers, labels = self.X[:, :m], self.Y[:, :m]
        X, Y = FORMS[form](numbers), FORMS[form](labels)
        before = image(X), image(Y)
        got = use_everything(self.net(dtype), X, Y)
        np.testing.assert_equal((image(X), image(Y)), before)
        same = np.ascontiguousarray(numbers, dtype)
        assert_same_bits(got, use_everything(self.net(dtype), same, labels.copy()))

    @each_dtype
    @pytest.mark.parametrize("m", [11, 2, 1])
    def test_bits_notice_another_example(self, m, dtype):
        X, Y = self.X[:, :m].astype(dtype), self.Y[:, :m]
        results = use_everything(self.net(dtype), X, Y)
        X[36, m - 1] += 1
        changed = use_everything(self.net(dtype), X, Y)
        for name in ("forward", "dW1", "db2", "train_step", "fit", "W1", "b2"):
            with pytest.raises(AssertionError):
                assert_same_bits(results[name], changed[name])

    @each_dtype
    def test_one_column_repeated_without_memory(self, dtype):
        X = np.broadcast_to(self.X[:, :1].astype(dtype), (37, 7))
        got = use_everything(self.net(dtype), X, self.Y[:, :7])
        assert_same_bits(got, use_everything(self.net(dtype), X.copy(), self.Y[:, :7]))

    def test_bools_are_numbers(self):
        X = self.X > 60
        got = self.net("float32").forward(X)
        assert_same_bits(got, self.net("float32").forward(X.astype("f4")))

    def test_integers_too_large_for_the_precision_are_rounded_once(self):
        X = np.full((3, 5), 2**24 + 1)
        net = fastdnn.DNN([3, 1], output_activation="identity")
        assert_same_bits(net.forward(X), net.forward(X.astype(np.float32)))

    def test_memory_map(self, tmp_path):
        np.save(tmp_path / "X.npy", self.X.astype("f4"))
        X = np.load(tmp_path / "X.npy", mmap_mode="r")
        got = use_everything(self.net("float32"), X, self.Y)
        assert_same_bits(got, use_everything(self.net("float32"), self.X, self.Y))


LABEL_FORMS = {
    "integers": lambda Y: Y.astype(int),
    "uint8": lambda Y: Y.astype("u1"),
    "bools": lambda Y: Y.astype(bool),
    "float16": lambda Y: Y.astype("f2"),
    "big-endian": lambda Y: Y.astype(">f8"),
    "float32": lambda Y: Y.astype("f4"),
    "fortran": lambda Y: np.asfortranarray(Y),
    "negative strides": lambda Y: np.ascontiguousarray(Y[..., ::-1])[..., ::-1],
    "strided": lambda Y: np.repeat(Y, 2, axis=-1)[..., ::2],
    "read-only": read_only,
    "list": lambda Y: Y.tolist(),
}

FLOATING = ("float16", "float32", "big-endian")


class TestFormsOfY:
    def check(self, net: fastdnn.DNN, Y: Any, same: Any) -> None:
        X, _ = problem(net)
        before = copy.deepcopy(Y)
        got = use_everything(copy.deepcopy(net), X, Y)
        np.testing.assert_equal(Y, before)
        assert_same_bits(got, use_everything(copy.deepcopy(net), X, same))

    @each_dtype
    @pytest.mark.parametrize("form", LABEL_FORMS)
    @pytest.mark.parametrize(("output", "n_y"), [("sigmoid", 1), ("sigmoid", 3), ("softmax", 3)])
    def test_targets(self, output, n_y, form, dtype):
        net = randomise(fastdnn.DNN([3, 4, n_y], output_activation=output, dtype=dtype))
        _, Y = problem(net)
        self.check(net, LABEL_FORMS[form](Y), Y)
        if n_y == 1:
            self.check(net, LABEL_FORMS[form](Y[0]), Y)

    @each_dtype
    @pytest.mark.parametrize("form", [f for f in LABEL_FORMS if f not in (*FLOATING, "bools")])
    def test_class_indices(self, form, dtype):
        net = randomise(fastdnn.DNN([3, 4, 3], output_activation="softmax", dtype=dtype))
        _, Y = problem(net)
        assert set(Y.argmax(axis=0)) == {0, 1, 2}
        self.check(net, LABEL_FORMS[form](Y.argmax(axis=0)), Y)

    def test_bools_are_two_classes(self):
        net = randomise(fastdnn.DNN([3, 4, 2], output_activation="softmax"))
        _, Y = problem(net)
        self.check(net, Y[1].astype(bool), Y)

    @pytest.mark.parametrize("output", ["identity", "sigmoid", "tanh"])
    def test_regression_targets_of_one_output(self, output):
        net = randomise(fastdnn.DNN([3, 4, 1], output_activation=output, loss="mse"))
        _, Y = problem(net)
        self.check(net, Y[0], Y)
        self.check(net, Y[0].tolist(), Y)

    @pytest.mark.parametrize("output", ["sigmoid", "softmax"])
    def test_soft_targets(self, output):
        net = randomise(fastdnn.DNN([3, 4, 2], output_activation=output, dtype="float64"))
        X, Y = problem(net)
        soft = 0.25 + 0.5 * Y
        cost, grads = reference_gradients(net, X, soft)
        assert net.evaluate(X, soft)["cost"] == pytest.approx(cost, rel=1e-12)
        assert_close(net.gradients(X, soft)["dW1"], grads["dW1"])


# --- keeping a network ----------------------------------------------------------------------------


COPIES = {
    "pickle": lambda net: pickle.loads(pickle.dumps(net)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


class TestCopies:
    def trained(self, dtype: str, optimizer: str = "adam") -> tuple[fastdnn.DNN, Any, Any]:
        net = randomise(fastdnn.DNN([3, 4, 1], dtype=dtype, seed=5, n_threads=2))
        X, Y = problem(net)
        net.fit(X, Y, epochs=3, batch_size=4, optimizer=optimizer, validation_data=(X, Y))
        return net, X, Y

    @each_dtype
    @pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
    @pytest.mark.parametrize("how", COPIES)
    def test_go_on_alike_and_apart(self, how, optimizer, dtype):
        net, X, Y = self.trained(dtype, optimizer)
        twin = COPIES[how](net)
        assert twin.config() == net.config()
        assert twin.history == net.history
        assert_same_bits(twin.parameters, net.parameters)
        assert not np.shares_memory(twin._engine.buffer, net._engine.buffer)
        assert np.shares_memory(twin.parameters["W1"], twin._engine.buffer)
        kept = {name: value.copy() for name, value in net.parameters.items()}
        costs = twin.fit(X, Y, epochs=3, batch_size=4, optimizer=optimizer).cost
        assert_same_bits(net.parameters, kept)
        assert net.fit(X, Y, epochs=3, batch_size=4, optimizer=optimizer).cost == costs
        assert_same_bits(net.parameters, twin.parameters)

    @pytest.mark.parametrize("how", COPIES)
    def test_untrained(self, how):
        net = fastdnn.DNN([3, 4, 1])
        twin = COPIES[how](net)
        assert_same_bits(twin.parameters, net.parameters)
        assert twin.history is None

    @pytest.mark.parametrize("how", COPIES)
    def test_share_nothing_that_can_change(self, how):
        net, _, _ = self.trained("float32")
        net.extra["classes"] = ["cat"]
        twin = COPIES[how](net)
        twin.extra["classes"].append("dog")
        twin.history.cost.clear()
        assert net.extra == {"classes": ["cat"]}
        assert net.history.epochs == 3

    def test_pickles_carry_no_workspace(self):
        net = fastdnn.DNN([3, 4, 1])
        size = len(pickle.dumps(net))
        X, Y = problem(net, 5000)
        net.fit(X, Y)
        assert net._engine._workspaces.kept
        assert len(pickle.dumps(net)) < size + 1000


class TestFiles:
    @each_dtype
    @pytest.mark.parametrize("case", [c for c in COMBINATIONS if c.hidden == "tanh"], ids=str)
    def test_come_back_bit_for_bit(self, case, dtype, tmp_path):
        net = randomise(case.net(dtype))
        net.save(tmp_path / "net.npz")
        twin = fastdnn.DNN.load(str(tmp_path / "net.npz"))
        assert type(twin) is fastdnn.DNN
        assert twin.config() == net.config()
        assert_same_bits(twin.parameters, net.parameters)
        X, Y = problem(net)
        assert_same_bits(twin.forward(X), net.forward(X))
        assert twin.train_step(X, Y) == net.train_step(X, Y)
        assert_same_bits(twin.parameters, net.parameters)

    def test_are_readable_by_numpy(self, tmp_path):
        net = randomise(fastdnn.DNN([3, 4, 1]))
        net.save(str(tmp_path / "net.npz"))
        with np.load(tmp_path / "net.npz") as file:
            for name, value in net.parameters.items():
                assert_same_bits(file[name], value)

    def test_what_is_no_network_is_refused(self, tmp_path):
        path = tmp_path / "net.npz"
        np.savez(path, W1=np.ones((1, 2)), b1=np.zeros((1, 1)))
        with pytest.raises(fastdnn.storage.FileFormatError, match=re.escape(str(path))):
            fastdnn.DNN.load(path)
        with pytest.raises(FileNotFoundError):
            fastdnn.DNN.load(tmp_path / "nothing.npz")

    @pytest.mark.parametrize("path", [3, None])
    def test_what_is_no_path_is_refused(self, path):
        for call in (fastdnn.DNN([3, 4, 1]).save, fastdnn.DNN.load, fastdnn.Checkpoint):
            with pytest.raises(TypeError, match=f"^path is {path}, expected the path of a file"):
                call(path)

    @pytest.mark.parametrize(
        "change",
        [
            {"hidden_activation": ["softmax"]},
            {"output_activation": "relu"},
            {"init": "random"},
            {"seed": -1},
            {"seed": 2**40},
            {"unknown": 1},
            {"n_threads": "many"},
        ],
        ids=str,
    )
    def test_a_file_with_another_config_is_refused(self, change, tmp_path):
        net = fastdnn.DNN([3, 4, 1])
        path = tmp_path / "net.npz"
        fastdnn.storage.save_model(path, net.config() | change, net.parameters)
        with pytest.raises(fastdnn.storage.FileFormatError):
            fastdnn.DNN.load(path)
