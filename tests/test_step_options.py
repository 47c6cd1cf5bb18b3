"""Options of a training step: weights, clipping, dropout, and numbers that are not finite."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import assert_close, assert_same, each_dtype, each_team, fenced, relative_error
from step_cases import (
    CUT_NET,
    CUTS,
    NO_CHUNKS,
    SMALL,
    Net,
    Training,
    cut_batches,
    exact_gradients,
    planned,
)

from fastdnn import reference
from fastdnn.kernels import step, tables
from fastdnn.kernels.dropout import keep_threshold
from fastdnn.kernels.vectors import lane_count

pytestmark = pytest.mark.kernels


# --- weights, clipping, dropout -------------------------------------------------------------------


@each_dtype
@pytest.mark.parametrize("ordered", [False, True], ids=["in turn", "ordered"])
def test_sample_weights(ordered, dtype):
    m, batch, first = 40, 2 * lane_count(dtype) + 1, 2
    X, Y = SMALL.examples(m, dtype)
    weights = np.random.RandomState(2).uniform(0, 2, m).astype(dtype)
    order = np.random.RandomState(3).permutation(m) if ordered else None
    chosen = (order if ordered else np.arange(m))[first : first + batch]
    with fenced() as allocate:
        training = Training(SMALL, dtype, batch, allocate=allocate, weighted=True)
        _, costs = training.run(X, Y, starts=(first,), order=order, sample_weights=weights)
        plain, _ = exact_gradients(SMALL, training.exact(), X[:, chosen], Y[:, chosen])
        cost, grads = exact_gradients(
            SMALL, training.exact(), X[:, chosen], Y[:, chosen],
            sample_weight=weights[chosen].astype(np.float64),
        )  # fmt: skip
        assert_close(costs.astype(dtype), np.array([cost]))
        for name, gradient in training.gradients().items():
            assert_close(gradient, grads[name])
        training.check_untouched()
    assert relative_error(costs[0], plain) > 1e-3


@each_dtype
@pytest.mark.parametrize("clip_norm", [0.05, 1e6])
def test_clipping(clip_norm, dtype):
    """A norm that clips every step, and one that clips none."""
    X, Y = SMALL.examples(9, dtype)
    with fenced() as allocate:
        training = Training(
            SMALL, dtype, 9, allocate=allocate, optimizer="momentum", clip_norm=clip_norm
        )
        parameters, state = training.exact(), {}
        for _ in range(5):
            _, grads = exact_gradients(SMALL, parameters, X, Y)
            norm = np.sqrt(sum(np.sum(g**2) for g in grads.values()))
            assert (norm > 2 * clip_norm) == (clip_norm < 1)
            parameters = reference.optimizer_step(
                parameters, grads, state, 0.1, optimizer="momentum", clip_norm=clip_norm
            )
        done, _ = training.run(X, Y, starts=(0, -1, -1, -1, -1))
        assert done == 5
        for key, view in training.views.items():
            assert_close(view, parameters[key], factor=4)
        training.check_untouched()


def hidden_values(training):
    """A of every hidden layer (n_l, batch), out of its panels in ``work``."""
    assert not training.plan.shape[tables.CHUNKS]  # else ``work`` holds only a few panels
    width, values = int(training.plan.shape[tables.WIDTH]), []
    for row in training.plan.layers[:-1]:
        panels = [
            training.work[place : place + row[tables.N_OUT] * width].reshape(-1, width)
            for place in row[tables.OUTPUT]
            + row[tables.OUTPUT_PANEL] * np.arange(training.plan.panels)
        ]
        values.append(np.concatenate(panels, axis=1)[:, : training.batch])
    return values


DROPS = Net((6, 20, 15, 2), "sigmoid", "softmax")  # a sigmoid is 0 only where it was dropped


@each_dtype
@pytest.mark.parametrize("hidden", ["sigmoid", "relu", "tanh"])
def test_dropout(dtype, hidden):
    """Gradients are those of the network with the dropped units' mask, forward and back."""
    rate, batch = 0.25, 2 * lane_count(dtype) + 3
    X, Y = DROPS.examples(batch, dtype)
    shows = Training(DROPS, dtype, batch, keep=keep_threshold(rate))
    shows.run(X, Y)
    masks = [(A != 0) / (1 - rate) for A in hidden_values(shows)]
    assert all(0 < (mask == 0).mean() < 2 * rate for mask in masks)
    net = Net(DROPS.dims, hidden, "softmax")  # whose masks are the same: they know places only
    with fenced() as allocate:
        training = Training(net, dtype, batch, allocate=allocate, keep=keep_threshold(rate))
        _, costs = training.run(X, Y)
        cost, grads = exact_gradients(net, training.exact(), X, Y, dropout_masks=masks)
        assert_close(costs.astype(dtype), np.array([cost]))
        for name, gradient in training.gradients().items():
            assert_close(gradient, grads[name])
        training.check_untouched()
    plain, _ = exact_gradients(net, training.exact(), X, Y)
    assert relative_error(costs[0], plain) > 1e-3


@each_dtype
def test_dropout_masks_differ_by_step_and_layer(dtype, monkeypatch):
    planned(monkeypatch, NO_CHUNKS)  # so that all activations stand in memory
    wide = Net((2, 40, 40, 1), "sigmoid")
    X, Y = wide.examples(50, dtype)
    training = Training(wide, dtype, 50, keep=keep_threshold(0.5))
    masks = []
    for _ in range(2):
        training.run(X, Y)
        masks += [A != 0 for A in hidden_values(training)]
    for i, mask in enumerate(masks):
        assert np.unique(mask, axis=0).shape == np.unique(mask, axis=1).shape == mask.shape
        assert abs(mask.mean() - 0.5) < 0.05
        assert abs(mask.mean(axis=0) - 0.5).max() < 0.4 and abs(mask.mean(axis=1) - 0.5).max() < 0.4
        for other in masks[:i]:  # independent: they agree on half of the units
            assert abs((mask == other).mean() - 0.5) < 0.06


@each_dtype
def test_dropout_does_not_depend_on_how_steps_are_called(dtype):
    X, Y = DROPS.examples(20, dtype)
    together, apart = (
        Training(DROPS, dtype, 20, optimizer="sgd", keep=keep_threshold(0.5)) for _ in range(2)
    )
    together.run(X, Y, starts=(0, -1, -1))
    for _ in range(3):
        apart.run(X, Y)
    assert_same(together.parameters, apart.parameters)


@pytest.mark.parametrize("rate", [1e-6, 1e-9, 1e-11, 1e-16])
def test_a_tiny_dropout_rate_keeps_nearly_everything(rate):
    """The threshold fits into the hash's 32 bits."""
    assert 0.999 * 2**32 < keep_threshold(rate) < 2**32


# --- costs and parameters that are not finite -----------------------------------------------------


@each_dtype
@each_team
def test_a_cost_that_is_not_finite_ends_the_training(team, dtype):
    """Before the third step's update: parameters and state are those of two steps."""
    X, Y = SMALL.examples(40, dtype)
    X[2, 25] = np.nan
    expected, training = (Training(SMALL, dtype, 10, optimizer="adam") for _ in range(2))
    expected.run(X, Y, starts=(0, 10))
    done, costs = training.run(X, Y, starts=(0, 10, 20, 30), team=team)
    assert done == 2
    assert np.isfinite(costs[:2]).all() and not np.isfinite(costs[2]) and np.isnan(costs[3])
    assert_same(training.parameters, expected.parameters)
    assert_same(training.state, expected.state)


@each_dtype
@each_team
def test_an_update_that_is_not_finite_ends_the_training(team, dtype):
    """The cost may be finite where the next parameters would not be; it is not told as one."""
    net = Net((2, 2), output="identity")
    X, Y = net.examples(4, dtype)
    training = Training(net, dtype, 4, optimizer="sgd")
    largest = float(np.finfo(dtype).max)
    done, costs = training.run(X, 100 * Y, starts=(0, 0), learning_rate=largest / 8, team=team)
    assert done == 0 and costs[0] == step.OVERFLOWED and np.isnan(costs[1])
    assert all(np.isfinite(view).all() for view in training.views.values())


@each_dtype
@pytest.mark.parametrize("dims", [(1, 1, 1, 1), (1, 2, 2, 2), (1, 1, 4, 1)], ids=str)
def test_padding_examples_never_reach_the_gradient(dims, dtype):
    """Columns that only fill the last panel may overflow where no example does.

    An example of zeros would meet the huge bias alone; the real ones cancel it.
    """
    net = Net(dims, "relu", "sigmoid")
    huge = float(np.finfo(dtype).max) / 2
    training = Training(net, dtype, 3)
    for name, view in training.views.items():
        view[...] = {"W1": -huge, "b1": huge, "W2": 4, "W3": 0.5}.get(name, 0)
    X, Y = np.ones((1, 3), dtype), np.ones((dims[-1], 3), dtype)
    _, costs = training.run(X, Y)
    cost, grads = exact_gradients(net, training.exact(), X, Y)
    assert_close(costs.astype(dtype), np.array([cost]))
    for name, gradient in training.gradients().items():
        assert_close(gradient, grads[name])


# --- squared weights ------------------------------------------------------------------------------


def check_squares(net, batch, dtype, clip_norm):
    """After an epoch's last step only, whole batch or not; the training is as without them."""
    for m in (2 * batch, 2 * batch - 1):
        X, Y = net.examples(m, dtype)
        with fenced() as allocate:
            training = Training(
                net, dtype, batch, allocate=allocate, optimizer="adam", clip_norm=clip_norm
            )
            for _ in range(2):
                training.run(X, Y, starts=(0, batch), columns=m, measures=True)
                weights = [W for name, W in training.exact().items() if name[0] == "W"]
                assert np.isnan(training.squares[0])
                expected = sum(np.sum(W**2) for W in weights)
                np.testing.assert_allclose(training.squares[1], expected, rtol=1e-6)
        plain = Training(net, dtype, batch, optimizer="adam", clip_norm=clip_norm)
        for _ in range(2):
            plain.run(X, Y, starts=(0, batch), columns=m)
        for name, view in training.views.items():
            assert_same(view, plain.views[name])


@each_dtype
@pytest.mark.parametrize("clip_norm", [None, 0.05])
def test_squares_of_the_weights_after_an_epoch(clip_norm, dtype):
    check_squares(SMALL, 5, dtype, clip_norm)


@pytest.mark.needs_jit
@each_dtype
@pytest.mark.parametrize("clip_norm", [None, 0.05])
@pytest.mark.parametrize("cut", CUTS)
def test_squares_of_the_weights_however_they_are_cut(cut, clip_norm, dtype, monkeypatch):
    planned(monkeypatch, CUTS[cut])
    check_squares(CUT_NET, cut_batches(dtype)[-1], dtype, clip_norm)


@pytest.mark.needs_jit
@each_team
@pytest.mark.parametrize("cut", CUTS)
def test_squares_are_the_same_for_any_team(cut, team, monkeypatch):
    """Many steps, so that members get there at all times: before, in and after the next one."""
    planned(monkeypatch, CUTS[cut])
    batch = cut_batches("float32")[-1]
    X, Y = CUT_NET.examples(batch, "float32")
    runs = [Training(CUT_NET, "float32", batch, optimizer="adam") for _ in range(2)]
    options = {"starts": (0,) + 39 * (-1,), "learning_rate": 1e-3, "measures": True}
    runs[0].run(X, Y, columns=batch, **options)
    runs[1].run(X, Y, columns=batch, team=team, **options)
    assert np.isfinite(runs[0].squares).all()
    assert_same(runs[1].squares, runs[0].squares)
