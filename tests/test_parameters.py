"""net.parameters: views into the network, however they are written to."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from kernel_cases import assert_close, each_dtype
from network_cases import assert_same_bits, in_float64, problem, randomise

import fastdnn
from fastdnn import reference

pytestmark = [pytest.mark.kernels, pytest.mark.front]

HOW_TO_ASSIGN = {
    "item": lambda p, new: [p.__setitem__(name, value) for name, value in new.items()],
    "update": lambda p, new: p.update(new),
    "update by name": lambda p, new: p.update(**new),
    "update by pairs": lambda p, new: p.update(list(new.items())),
    "or": lambda p, new: p.__ior__(new),
}


def network(dtype="float64"):
    return randomise(fastdnn.DNN([3, 4, 1], dtype=dtype, seed=4))


def numbers(net, start=1.0):
    """New parameters, no two of which are alike."""
    return {
        name: start + np.arange(view.size).reshape(view.shape) / 8
        for name, view in net.parameters.items()
    }


@each_dtype
@pytest.mark.parametrize("how", HOW_TO_ASSIGN)
def test_what_is_assigned_is_what_the_network_has(how, dtype, tmp_path):
    net, twin = network(dtype), network(dtype)
    X, Y = problem(net)
    net.fit(X, Y, epochs=2)  # its workspaces have seen other weights
    net._state.forget()
    views, new = dict(net.parameters), numbers(net)
    HOW_TO_ASSIGN[how](net.parameters, new)
    for name, value in new.items():
        twin.parameters[name][...] = value
        assert net.parameters[name] is views[name]
    assert_same_bits(net.parameters, twin.parameters)
    assert_same_bits(net.forward(X), twin.forward(X))
    assert_same_bits(net.forward(X[:, :1]), twin.forward(X[:, :1]))
    net.save(tmp_path / "net.npz")
    for other in (pickle.loads(pickle.dumps(net)), fastdnn.DNN.load(tmp_path / "net.npz")):
        assert_same_bits(other.parameters, twin.parameters)
    assert net.fit(X, Y, epochs=3).cost == twin.fit(X, Y, epochs=3).cost
    assert_same_bits(net.parameters, twin.parameters)


@pytest.mark.parametrize("functions", [fastdnn, reference], ids=lambda module: module.__name__)
@pytest.mark.parametrize("inplace", [False, True])
@each_dtype
def test_the_loop_of_the_notebook_trains_the_network(functions, inplace, dtype):
    net, twin = network(dtype), network(dtype)
    X, Y = problem(net)
    costs = []
    for _ in range(5):
        AL, caches = functions.L_model_forward(X, net.parameters)
        costs.append(functions.compute_cost(AL, Y))
        grads = functions.L_model_backward(AL, Y, caches)
        updated = functions.update_parameters(net.parameters, grads, 0.5, inplace=inplace)
        assert updated is net.parameters
    expected = [twin.train_step(X, Y, learning_rate=0.5) for _ in range(5)]
    assert costs == pytest.approx(expected, rel=1e-5)
    for name, value in in_float64(twin).items():
        assert_close(net.parameters[name], value)
    assert net.evaluate(X, Y)["cost"] == pytest.approx(twin.evaluate(X, Y)["cost"], rel=1e-5)


def test_an_update_that_is_not_finite_changes_nothing():
    net = network("float32")
    before = copy.deepcopy(net.parameters)
    grads = {f"d{name}": np.ones_like(value) for name, value in net.parameters.items()}
    grads["db2"][...] = np.nan
    with pytest.raises(ValueError, match=r"^b2\[0, 0\] is nan, expected finite float32 numbers"):
        fastdnn.update_parameters(net.parameters, grads, 0.5)
    assert_same_bits(net.parameters, before)


def test_the_dict_of_the_network_can_be_assigned():
    net = network()
    kept, new = net.parameters, numbers(net)
    net.parameters = new
    assert net.parameters is kept
    assert_same_bits(in_float64(net), new)
    net.parameters |= numbers(net, 2.0)
    assert net.parameters is kept
    assert_same_bits(in_float64(net), numbers(net, 2.0))
    net.parameters["W1"] *= 2
    assert_same_bits(in_float64(net)["W1"], 2 * numbers(net, 2.0)["W1"])
    with pytest.raises(ValueError, match=r"^parameters has the keys W1, expected W1, b1, W2, b2"):
        net.parameters = {"W1": new["W1"]}
    with pytest.raises(TypeError, match=r"^parameters is 3, expected a dict of W1, b1"):
        net.parameters = 3


def test_parameters_that_change_places():
    net = randomise(fastdnn.DNN([3, 3, 3, 1]))
    before = copy.deepcopy(net.parameters)
    net.parameters.update(W1=net.parameters["W2"], W2=net.parameters["W1"])
    assert_same_bits(net.parameters, before | {"W1": before["W2"], "W2": before["W1"]})


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("W9", [[1.0]], ValueError, "the name of a parameter is 'W9', expected one of W1, b1, W2"),
        ("W1", np.ones((3, 4)), ValueError, "W1 has shape (3, 4), expected (4, 3); W1.T has that"),
        ("b1", np.ones(4), ValueError, "b1 has shape (4,), expected a 2-d array; b1.reshape"),
        ("b1", 0.0, ValueError, "b1 has shape (), expected a 2-d array"),
        ("b1", [[1.0], [np.nan], [0], [0]], ValueError, "b1[1, 0] is nan, expected finite"),
        ("b1", [[1e300], [0], [0], [0]], ValueError, "b1[0, 0] is inf, expected finite float32"),
        ("b1", [[1j], [0], [0], [0]], TypeError, "b1 has dtype complex128"),
        ("b1", [["a"], ["b"], ["c"], ["d"]], TypeError, "b1 has dtype <U1"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("how", HOW_TO_ASSIGN)
def test_what_does_not_fit_is_refused(how, name, value, error, message):
    net = network("float32")
    before = copy.deepcopy(net.parameters)
    new = {name: value} if how == "item" else {"W2": np.ones((1, 4)), name: value}
    with pytest.raises(error) as caught:
        HOW_TO_ASSIGN[how](net.parameters, new)
    assert str(caught.value).startswith(message)
    assert_same_bits(net.parameters, before)


@pytest.mark.parametrize(
    "remove",
    [
        lambda p: p.__delitem__("W1"), lambda p: p.pop("W1"), lambda p: p.pop("W9", None),
        lambda p: p.popitem(), lambda p: p.clear(),
    ],
)  # fmt: skip
def test_nothing_can_be_removed(remove):
    net = network()
    with pytest.raises(TypeError, match=r"^parameters belong to a network, none of them"):
        remove(net.parameters)
    assert list(net.parameters) == ["W1", "b1", "W2", "b2"]


def test_nothing_can_be_added():
    net = network()
    assert net.parameters.setdefault("W1", None) is net.parameters["W1"]
    with pytest.raises(ValueError, match=r"^the name of a parameter is 'W3', expected one of"):
        net.parameters.setdefault("W3", np.ones((1, 1)))
    with pytest.raises(TypeError, match=r"^the name of a parameter is 1, expected one of W1, b1"):
        net.parameters[1] = np.ones((1, 1))
    assert list(net.parameters) == ["W1", "b1", "W2", "b2"]


COPIES = {
    "copy": copy.copy,
    "method": lambda p: p.copy(),
    "deepcopy": copy.deepcopy,
    "pickle": lambda p: pickle.loads(pickle.dumps(p)),
    "or": lambda p: p | {},
    "dict": dict,
}


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_is_a_plain_dict(how):
    net = network()
    before = in_float64(net)
    copied = COPIES[how](net.parameters)
    assert type(copied) is dict
    assert_same_bits(copied, net.parameters)
    copied["W1"] = np.zeros((1, 1))
    copied["W9"] = copied.pop("b1")
    assert_same_bits(in_float64(net), before)
