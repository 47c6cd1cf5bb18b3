"""DNN: architecture, parameters, what it computes, and how it is kept."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import numpy as np
import pytest
from kernel_cases import DTYPES, FENCE, TOLERANCE, assert_close, each_dtype, edges, relative_error
from network_cases import (
    COMBINATIONS,
    HIDDEN,
    OUTPUTS,
    assert_same_bits,
    in_float64,
    kind_of,
    problem,
    randomise,
    reference_gradients,
)

import fastdnn
from fastdnn import engine, memory, plan, reference
from fastdnn.initialisation import INITS
from fastdnn.kernels.activations import ACTIVATIONS
from fastdnn.kernels.losses import LOSSES
from fastdnn.kernels.microkernels import TILE_ROWS
from fastdnn.kernels.vectors import lane_count

pytestmark = [pytest.mark.kernels, pytest.mark.front]

each_combination = pytest.mark.parametrize("case", COMBINATIONS, ids=str)


class TestConstruction:
    def test_tables_agree_with_the_reference(self):
        assert set(ACTIVATIONS) == set(reference.ACTIVATIONS)
        assert set(LOSSES) == set(reference.LOSSES)
        assert set(INITS) == set(reference.INITS)
        assert len(COMBINATIONS) == 2 * len(HIDDEN) * (len(ACTIVATIONS) + 2)

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"layer_dims": []}, ValueError, "layer_dims is [], expected at least two"),
            ({"layer_dims": [3]}, ValueError, "layer_dims is [3], expected at least two"),
            ({"layer_dims": [3, 0, 1]}, ValueError, "layer_dims[1] is 0"),
            ({"layer_dims": [3, -2, 1]}, ValueError, "layer_dims[1] is -2"),
            ({"layer_dims": [3, 2.0, 1]}, TypeError, "layer_dims[1] is 2.0"),
            ({"layer_dims": [3, True, 1]}, TypeError, "layer_dims[1] is True"),
            ({"layer_dims": "31"}, TypeError, "layer_dims[0] is '3'"),
            ({"layer_dims": 3}, TypeError, "layer_dims is 3"),
            ({"layer_dims": None}, TypeError, "layer_dims is None"),
            ({"layer_dims": [2**70, 1]}, ValueError, "layer_dims"),
            ({"hidden_activation": "reul"}, ValueError, "hidden_activation is 'reul'"),
            ({"hidden_activation": "softmax"}, ValueError, "hidden_activation is 'softmax'"),
            ({"hidden_activation": ["relu"]}, ValueError, "hidden_activation has 1 names"),
            ({"hidden_activation": ["relu", 1]}, TypeError, "hidden_activation[1] is 1"),
            ({"hidden_activation": 7}, TypeError, "hidden_activation is 7"),
            ({"output_activation": "soft"}, ValueError, "output_activation is 'soft'"),
            ({"output_activation": None}, TypeError, "output_activation is None"),
            ({"loss": "rmse"}, ValueError, "loss is 'rmse'"),
            ({"loss": 5}, TypeError, "loss is 5"),
            (
                {"output_activation": "relu", "loss": "binary_crossentropy"},
                ValueError,
                "loss 'binary_crossentropy' needs output_activation='sigmoid', not 'relu'",
            ),
            (
                {"output_activation": "sigmoid", "loss": "categorical_crossentropy"},
                ValueError,
                "loss 'categorical_crossentropy' needs output_activation='softmax'",
            ),
            ({"init": "xavir"}, ValueError, "init is 'xavir'"),
            ({"init": None}, TypeError, "init is None"),
            ({"dtype": "float16"}, ValueError, "dtype is 'float16'"),
            ({"dtype": int}, ValueError, "dtype is <class 'int'>"),
            ({"dtype": None}, ValueError, "dtype is None"),
            ({"seed": -1}, ValueError, "seed is -1"),
            ({"seed": 1.0}, TypeError, "seed is 1.0"),
            ({"seed": 2**32}, ValueError, "seed is 4294967296"),
            ({"n_threads": 0}, ValueError, "n_threads is 0"),
            ({"n_threads": 2.0}, TypeError, "n_threads is 2.0"),
        ],
    )
    def test_refuses(self, arguments, error, message):
        with pytest.raises(error, match="^" + re.escape(message)):
            fastdnn.DNN(**{"layer_dims": [3, 4, 2, 1], **arguments})

    @pytest.mark.parametrize(
        ("output", "loss"),
        [("sigmoid", "binary_crossentropy"), ("softmax", "categorical_crossentropy")]
        + [(name, "mse") for name in ACTIVATIONS if name not in ("sigmoid", "softmax")],
    )
    def test_loss_follows_the_output(self, output, loss):
        assert fastdnn.DNN([2, 3], output_activation=output).loss == loss
        assert reference.default_loss(output) == loss

    @each_dtype
    @pytest.mark.parametrize("init", INITS)
    def test_initial_parameters_are_the_notebooks(self, init, dtype):
        net = fastdnn.DNN([5, 4, 3], init=init, seed=3, dtype=dtype)
        expected = reference.initialise_parameters_deep([5, 4, 3], seed=3, init=init)
        assert_same_bits(net.parameters, {k: v.astype(dtype) for k, v in expected.items()})

    def test_seed_matters_and_leaves_the_global_stream_alone(self):
        np.random.seed(5)
        one, two = fastdnn.DNN([5, 4], seed=1), fastdnn.DNN([5, 4], seed=2)
        drawn = np.random.rand()
        np.random.seed(5)
        assert np.random.rand() == drawn
        assert not np.array_equal(one.parameters["W1"], two.parameters["W1"])

    def test_attributes(self):
        net = fastdnn.DNN(np.array([4, 3, 2]), output_activation="softmax", dtype=np.float64)
        assert net.layer_dims == (4, 3, 2)
        assert all(type(n) is int for n in net.layer_dims)
        assert net.hidden_activations == ("relu",)
        assert (net.dtype, net.history) == (np.dtype("float64"), None)

    @pytest.mark.parametrize(
        "arguments",
        [
            {"layer_dims": [3, 1]},
            {"layer_dims": (3, 5, 4, 2), "hidden_activation": ("tanh", "softplus")},
            {
                "layer_dims": [3, 2, 2],
                "output_activation": "softmax",
                "loss": "mse",
                "init": "normal",
                "dtype": np.float64,
                "seed": 17,
                "n_threads": 3,
            },
        ],
    )
    def test_config_builds_the_same_network(self, arguments):
        net = fastdnn.DNN(**arguments)
        config = json.loads(json.dumps(net.config()))
        twin = fastdnn.DNN(**config)
        assert twin.config() == net.config() == config
        assert_same_bits(twin.parameters, net.parameters)
        assert (twin.n_threads, twin.seed) == (arguments.get("n_threads"), arguments.get("seed", 0))

    def test_repr(self):
        net = fastdnn.DNN([1200, 20, 3], hidden_activation="tanh", output_activation="softmax")
        expected = (
            "<DNN 1200 -> 20 tanh -> 3 softmax; categorical_crossentropy, float32, "
            "24,083 parameters>"
        )
        assert repr(net) == expected


class TestParameters:
    @each_dtype
    def test_are_views_of_one_aligned_buffer(self, dtype):
        net = fastdnn.DNN([5, 7, 3, 2], dtype=dtype)
        buffer = net._engine.buffer
        shapes = {
            "W1": (7, 5),
            "b1": (7, 1),
            "W2": (3, 7),
            "b2": (3, 1),
            "W3": (2, 3),
            "b3": (2, 1),
        }
        assert {name: value.shape for name, value in net.parameters.items()} == shapes
        assert list(net.parameters) == list(shapes)
        assert buffer.ctypes.data % 64 == 0
        end = buffer.ctypes.data
        for value in net.parameters.values():
            start = value.ctypes.data
            assert value.dtype == dtype
            assert start % 64 == 0
            assert start >= end, "views overlap"
            assert np.shares_memory(value, buffer)
            assert value.flags.c_contiguous
            assert value.flags.writeable
            end = start + value.nbytes
        assert end <= buffer.ctypes.data + buffer.nbytes

    def test_stay_views_through_training(self):
        net = randomise(fastdnn.DNN([3, 4, 1]))
        views = dict(net.parameters)
        before = in_float64(net)
        X, Y = problem(net)
        net.train_step(X, Y)
        net.fit(X, Y, epochs=2, batch_size=3, optimizer="adam", validation_data=(X, Y))
        for name, view in views.items():
            assert net.parameters[name] is view
            assert not np.array_equal(view, before[name])

    def test_writing_into_them_is_what_forward_sees(self):
        net = fastdnn.DNN([2, 1], output_activation="identity", dtype="float64")
        net.parameters["W1"][...] = [[2.0, -1.0]]
        net.parameters["b1"][...] = 0.5
        np.testing.assert_array_equal(net.forward([[1, 3], [1, 0]]), [[1.5, 6.5]])

    def test_results_are_the_callers_own(self):
        net = randomise(fastdnn.DNN([3, 4, 1]))
        X, Y = problem(net)
        before = in_float64(net)
        outputs = [net.forward(X), net.forward(2 * X)]
        grads = [net.gradients(X, Y), net.gradients(2 * X, Y)]
        kept = copy.deepcopy((outputs, grads))
        net.forward(3 * X)
        net.gradients(3 * X, Y)
        assert_same_bits(outputs[0], kept[0][0])
        assert_same_bits(grads[0], kept[1][0])
        assert not np.array_equal(outputs[0], outputs[1])
        for value in (*outputs, *grads[0].values(), *grads[1].values()):
            value[...] = 99
        assert_same_bits(in_float64(net), before)


class TestAgainstReference:
    @each_dtype
    @each_combination
    def test_every_combination(self, case, dtype):
        net = randomise(case.net(dtype))
        X, Y = problem(net)
        AL, _ = reference.L_model_forward(X.astype(np.float64), in_float64(net), **kind_of(net))
        cost, grads = reference_gradients(net, X, Y)
        if not case.flat:
            assert all(np.linalg.norm(g) > 1e-4 for g in grads.values()), "nothing to compare"

        assert_close(net.forward(X), AL)
        got = net.gradients(X, Y)
        assert list(got) == list(grads)
        for name, g in grads.items():
            assert got[name].dtype == dtype
            assert_close(got[name], g)
        report = net.evaluate(X, Y)
        assert report["cost"] == pytest.approx(cost, rel=TOLERANCE[dtype], abs=1e-15)
        assert (set(report) - {"cost"}) == {"r2" if case.loss == "mse" else "accuracy"}
        self.check_labels(net, X, Y, AL, report)

        before = in_float64(net)
        step_cost = net.train_step(X, Y, learning_rate=0.125)
        assert type(step_cost) is float
        assert step_cost == pytest.approx(cost, rel=TOLERANCE[dtype], abs=1e-15)
        for name, value in net.parameters.items():
            assert_close(value, before[name] - 0.125 * grads[f"d{name}"])

    def check_labels(self, net, X, Y, AL, report):
        labels = net.predict(X)
        if net.output_activation == "softmax":
            np.testing.assert_array_equal(labels, AL.argmax(axis=0))
        elif net.output_activation == "sigmoid":
            np.testing.assert_array_equal(labels, (AL > 0.5)[0] if len(AL) == 1 else AL > 0.5)
        else:
            assert_same_bits(labels, net.forward(X))
        if net.output_activation in ("softmax", "sigmoid"):
            assert labels.dtype == np.int64
        if "r2" in report:
            spread = np.sum((Y - Y.mean(axis=1, keepdims=True)) ** 2, dtype=np.float64)
            expected_r2 = 1 - np.sum((AL - Y) ** 2) / spread
            assert report["r2"] == pytest.approx(expected_r2, rel=1e-5)
        elif net.output_activation == "softmax":
            assert report["accuracy"] == np.mean(labels == Y.argmax(axis=0))
        else:
            assert report["accuracy"] == np.mean(labels == Y)

    @each_dtype
    def test_tolerance_notices_a_wrong_answer(self, dtype):
        net = randomise(fastdnn.DNN([3, 5, 4, 1], dtype=dtype))
        X, Y = problem(net)
        _, grads = reference_gradients(net, X, Y)
        got = net.gradients(X, Y)["dW2"]
        wrong = got.astype(np.float64) * (1 + 3 * TOLERANCE[dtype])
        assert (
            relative_error(got, grads["dW2"])
            < TOLERANCE[dtype]
            < relative_error(wrong, grads["dW2"])
        )
        other = randomise(fastdnn.DNN([3, 5, 4, 1], hidden_activation="leaky_relu", dtype=dtype))
        assert relative_error(got, other.gradients(X, Y)["dW2"]) > 100 * TOLERANCE[dtype]

    @pytest.mark.parametrize(
        ("dims", "activations"),
        [([3, 1], ()), ([4, 5, 6, 5, 3], ("tanh", "relu", "softplus"))],
    )
    @each_dtype
    def test_depth_and_an_activation_for_each_layer(self, dims, activations, dtype):
        net = randomise(fastdnn.DNN(dims, hidden_activation=activations, dtype=dtype))
        X, Y = problem(net)
        _, grads = reference_gradients(net, X, Y)
        got = net.gradients(X, Y)
        for name, g in grads.items():
            assert_close(got[name], g)

    @each_dtype
    def test_edges_of_every_tile_stay_inside_the_buffers(self, dtype, monkeypatch):
        fences = []

        def fenced_zeros(count: int, kind: Any) -> np.ndarray:
            whole = memory.aligned_zeros(count + 2 * FENCE, kind)
            whole[:FENCE] = whole[FENCE + count :] = np.nan
            fences.append((whole, count))
            return whole[FENCE : FENCE + count]

        for module in (engine, plan):  # parameters; working memory
            monkeypatch.setattr(module, "aligned_zeros", fenced_zeros)
        lane = lane_count(dtype)
        sizes = edges(TILE_ROWS, lane, 2 * lane, 4 * lane)
        shapes = [(n, 3, 2, 5) for n in sizes] + [(3, n, 2, 5) for n in sizes]
        shapes += [(3, 3, n, 5) for n in sizes] + [(3, 4, 2, m) for m in sizes]
        for n_x, n_h, n_y, m in shapes:
            net = randomise(fastdnn.DNN([n_x, n_h, n_y], hidden_activation="tanh", dtype=dtype))
            X, Y = problem(net, m)
            _, grads = reference_gradients(net, X, Y)
            got = net.gradients(X, Y)
            for name, g in grads.items():
                assert_close(got[name], g)
            AL, _ = reference.L_model_forward(X.astype(np.float64), in_float64(net), **kind_of(net))
            assert_close(net.forward(X), AL)
        assert len(fences) >= 3 * len(shapes)
        for whole, count in fences:
            assert np.isnan(whole[:FENCE]).all()
            assert np.isnan(whole[FENCE + count :]).all()

    @each_dtype
    @pytest.mark.parametrize("output", ["sigmoid", "softmax"])
    def test_saturated_outputs_cost_the_smallest_normal_and_stay_finite(self, output, dtype):
        net = fastdnn.DNN([1, 2], output_activation=output, dtype=dtype)
        net.parameters["W1"][...] = [[1e4], [-1e4]]
        X, Y = np.array([[1.0, -1.0]]), np.array([[0.0, 1.0], [1.0, 0.0]])
        worst = -np.log(np.finfo(dtype).tiny)
        outputs = 2 if output == "sigmoid" else 1
        assert net.evaluate(X, Y)["cost"] == pytest.approx(outputs * worst, rel=1e-5)
        np.testing.assert_array_equal(net.gradients(X, Y)["dW1"], [[1.0], [-1.0]])
        assert net.train_step(X, Y, learning_rate=1.0) == pytest.approx(outputs * worst, rel=1e-5)
        assert net.evaluate(X, 1 - Y) == {"cost": 0.0, "accuracy": 1.0}

    def test_gradients_of_a_cost_that_overflows_are_not_a_number(self):
        net = fastdnn.DNN([1, 1], output_activation="identity", dtype="float32")
        net.parameters["W1"][...] = 1
        X = np.array([[1e30, 2e30]], np.float32)  # finite, but not its squared error
        with np.errstate(all="ignore"):
            grads = net.gradients(X, [[0, 0]])
        assert all(np.isnan(gradient).all() for gradient in grads.values())

    @pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1e25, 0.0), (1.0, 1e4)])
    def test_r2_of_targets_far_from_one(self, scale, offset):
        net = fastdnn.DNN([1, 1], output_activation="identity", dtype="float32")
        net.parameters["W1"][...], net.parameters["b1"][...] = scale, offset
        rng = np.random.default_rng(0)
        X = rng.standard_normal((1, 5000)).astype(np.float32)
        Y = (scale * (X + rng.standard_normal(X.shape)) + offset).astype(np.float32)
        exact, AL = Y.astype(np.float64), net.forward(X).astype(np.float64)
        expected = 1 - np.sum((AL - exact) ** 2) / np.sum((exact - exact.mean()) ** 2)
        assert 0.3 < expected < 0.7
        assert net.evaluate(X, Y)["r2"] == pytest.approx(expected, rel=1e-5)

    def test_one_half_is_the_lower_class(self):
        net = fastdnn.DNN([1, 1])
        net.parameters["W1"][...] = 1
        assert net.predict([[-1e-3, 0, 1e-3]]).tolist() == [0, 0, 1]


class TestGradientsAgainstDifferences:
    """The slope of ``evaluate``'s cost along one random direction of every parameter."""

    STEP = 1e-5  # error of the difference: STEP^2 f''' / 6 and eps / STEP, both near 1e-11
    BOUND = 1e-8

    def disagreement(self, net, X, Y, grads):
        """The largest difference between the two slopes of any parameter."""
        rng = np.random.default_rng(7)
        worst = 0.0
        for name, value in net.parameters.items():
            direction = rng.standard_normal(value.shape)
            kept, costs = value.copy(), []
            for side in (1, -1):
                value[...] = kept + side * self.STEP * direction
                costs.append(net.evaluate(X, Y)["cost"])
            value[...] = kept
            slope = (costs[0] - costs[1]) / (2 * self.STEP)
            worst = max(worst, abs(slope - np.vdot(direction, grads[f"d{name}"])))
        return worst

    def smooth_problem(self, case):
        """One with a slope, and no unit so near a relu's kink that a difference straddles it."""
        for seed in range(100):
            net = randomise(case.net("float64", inside=(4, 3)), seed)
            X, Y = problem(net, 6, seed)
            _, caches = reference.L_model_forward(X, in_float64(net), **kind_of(net))
            _, grads = reference_gradients(net, X, Y)
            steep = case.flat or min(np.linalg.norm(g) for g in grads.values()) > 1e-2
            if steep and min(np.abs(Z).min() for _, Z in caches) > 1e3 * self.STEP:
                return net, X, Y
        raise AssertionError("no smooth problem found")

    @each_combination
    def test_every_combination(self, case):
        net, X, Y = self.smooth_problem(case)
        grads = net.gradients(X, Y)
        assert self.disagreement(net, X, Y, grads) < self.BOUND

    @pytest.mark.parametrize("name", ["dW1", "db1", "dW2", "db2", "dW3", "db3"])
    def test_notices_a_wrong_gradient(self, name):
        case = next(c for c in COMBINATIONS if c.hidden == "tanh" and c.n_y == 3)
        net, X, Y = self.smooth_problem(case)
        grads = net.gradients(X, Y)
        grads[name] *= 1 + 1e-5
        assert self.disagreement(net, X, Y, grads) > self.BOUND
        grads = net.gradients(X, Y)
        grads[name] /= X.shape[1]  # a second 1/m
        assert self.disagreement(net, X, Y, grads) > 1e4 * self.BOUND


def test_tolerances_are_those_of_the_specification():
    assert TOLERANCE == {"float32": 1e-5, "float64": 1e-12}
    assert set(DTYPES) == set(TOLERANCE)
    assert {loss for _, loss in OUTPUTS} == set(LOSSES)
