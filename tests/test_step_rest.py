"""The last step of an epoch: the examples that are left, in the plan of a whole batch."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import assert_close, assert_same, each_dtype, each_team, fenced
from step_cases import CUT_NET, CUTS, Training, cut_batches, exact_gradients, planned

from fastdnn.kernels.dropout import keep_threshold
from fastdnn.kernels.vectors import lane_count

pytestmark = pytest.mark.kernels

# One is enough where kernels are plain Python.
LAYOUTS = (
    "ordered",
    *(
        pytest.param(layout, marks=pytest.mark.needs_jit)
        for layout in ("rows", "columns", "ordered columns")
    ),
)


def laid_out(X, Y, layout):
    """The examples in this memory, and how `Training.run` is told; in their order, always."""
    (n_x, m), n_y = X.shape, Y.shape[0]
    order = None
    if "ordered" in layout:
        order = np.random.RandomState(5).permutation(m)
        X, Y = X[:, np.argsort(order)], Y[:, np.argsort(order)]
    if "columns" not in layout:
        return X.ravel(), Y.ravel(), {"strides": (m, 1, m, 1), "order": order}
    return X.T.ravel(), Y.T.ravel(), {"strides": (1, n_x, 1, n_y), "order": order}


@each_dtype
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("cut", CUTS)
def test_gradients_of_what_is_left(cut, layout, dtype, monkeypatch):
    """A whole batch before has filled all places with values that overflow."""
    planned(monkeypatch, CUTS[cut])
    batch = cut_batches(dtype)[-1]
    for rest in (1, lane_count(dtype) + 1, batch - 1):
        X, Y = CUT_NET.examples(batch + rest, dtype)
        X[:, :batch] *= np.finfo(dtype).max / 100
        x, y, options = laid_out(X, Y, layout)
        options["sample_weights"] = np.random.RandomState(3).uniform(0.5, 2, batch + rest)
        options["sample_weights"] = options["sample_weights"].astype(dtype)
        left = X[:, batch:], Y[:, batch:], options["sample_weights"][batch:]
        if options["order"] is not None:
            options["sample_weights"] = options["sample_weights"][np.argsort(options["order"])]
        with fenced() as allocate:
            training = Training(CUT_NET, dtype, batch, allocate=allocate, weighted=True)
            training.run(x, y, columns=batch + rest, **options)
            done, costs = training.run(x, y, starts=(batch,), columns=batch + rest, **options)
            assert done == 1
            training.check_untouched()
            cost, expected = exact_gradients(
                CUT_NET, training.exact(), *left[:2], sample_weight=left[2]
            )
            assert_close(costs.astype(dtype), np.array([cost]))
            for name, gradient in training.gradients().items():
                assert_close(gradient, expected[name])


@pytest.mark.needs_jit
@each_team
@pytest.mark.parametrize("cut", CUTS)
def test_two_epochs_in_one_call_of_any_team(cut, team, monkeypatch):
    """Their orders follow each other; the bits are those of a call for each epoch."""
    planned(monkeypatch, CUTS[cut])
    batch = cut_batches("float32")[-1]
    m = batch + 9
    X, Y = CUT_NET.examples(m, "float32")
    orders = [np.random.RandomState(i).permutation(m) for i in range(2)]
    one_by_one, together = (
        Training(CUT_NET, "float32", batch, optimizer="adam", keep=keep_threshold(0.3))
        for _ in range(2)
    )
    options = {"columns": m, "learning_rate": 1e-3}
    expected = [one_by_one.run(X, Y, starts=(0, batch), order=order, **options) for order in orders]
    done, costs = together.run(
        X, Y, starts=(0, batch, m, m + batch), order=np.concatenate(orders), team=team, **options
    )
    assert done == 4
    assert_same(costs, np.concatenate([costs for _, costs in expected]))
    assert_same(together.parameters, one_by_one.parameters)
