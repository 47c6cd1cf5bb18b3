"""Hyper-parameters, the table of scalars the kernels read, and learning-rate schedules."""

from __future__ import annotations

import decimal
import json
import math
from dataclasses import FrozenInstanceError
from functools import partial

import numpy as np
import pytest

from fastdnn import optimizers as opt
from fastdnn import reference
from fastdnn.kernels import updates

NAMES = ("sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw")
DTYPES = ("float32", "float64")


def step_by_table(optimizer, w, g, states, row):
    """The kernels' update spelled out for one array: what the columns mean."""
    c = dict(enumerate(row))
    step, decay = c[updates.STEP_SIZE], c[updates.WEIGHT_DECAY]
    if optimizer.name == "adamw":
        w = w * (1 - decay)
    else:
        g = g + decay * w
    if optimizer.name == "sgd":
        return w - step * g
    first = states[0]
    if optimizer.name in ("momentum", "nesterov"):
        first[:] = c[updates.FIRST_DECAY] * first + g
        return w - step * (
            first if optimizer.name == "momentum" else g + first * optimizer.momentum
        )
    if optimizer.name == "rmsprop":
        first[:] = c[updates.FIRST_DECAY] * first + c[updates.FIRST_SHARE] * g * g
        return w - step * g / (np.sqrt(first) + c[updates.EPSILON])
    second = states[1]
    first[:] = c[updates.FIRST_DECAY] * first + c[updates.FIRST_SHARE] * g
    second[:] = c[updates.SECOND_DECAY] * second + c[updates.SECOND_SHARE] * g * g
    scale = c[updates.DENOMINATOR_SCALE]
    return w - step * first / (np.sqrt(second) * scale + c[updates.EPSILON])


def trajectory(optimizer, w, gradient, n_steps):
    """w after n_steps, the learning rate halving half way."""
    states = [np.zeros_like(w) for _ in range(optimizer.n_states)]
    rates = halving(optimizer.base_learning_rate, n_steps)
    for row in optimizer.coefficients(1, n_steps, rates, w.dtype):
        w = step_by_table(optimizer, w, gradient(w), states, row)
    return w


def halving(rate, n_steps):
    return np.where(np.arange(n_steps) < n_steps // 2, rate, rate / 2)


def problem(dtype="float64"):
    """An ill-conditioned quadratic: start and gradient."""
    rng = np.random.default_rng(5)
    scale = np.geomspace(1e-3, 10.0, 12).astype(dtype)
    return rng.standard_normal(12).astype(dtype), lambda w: scale * (w - 1)


def configured(name):
    """An optimizer with no hyper-parameter left at its default."""
    more = {
        "momentum": {"momentum": 0.8},
        "nesterov": {"momentum": 0.8},
        "rmsprop": {"decay": 0.9, "epsilon": 1e-7},
        "adam": {"beta1": 0.8, "beta2": 0.99, "epsilon": 1e-7},
        "adamw": {"beta1": 0.8, "beta2": 0.99, "epsilon": 1e-7},
    }
    return opt.OPTIMIZERS[name](learning_rate=0.02, weight_decay=0.05, **more.get(name, {}))


# --- the table ------------------------------------------------------------------------------


def test_every_optimizer_has_its_own_name_code_and_number_of_states():
    assert tuple(opt.OPTIMIZERS) == NAMES
    assert [opt.OPTIMIZERS[name].n_states for name in NAMES] == [0, 1, 1, 1, 2, 2]
    codes = [getattr(updates, name.upper()) for name in NAMES]
    assert [opt.OPTIMIZERS[name].code for name in NAMES] == codes
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("default", [True, False])
def test_the_table_gives_the_steps_of_the_reference(name, default):
    optimizer = opt.OPTIMIZERS[name]() if default else configured(name)
    w, gradient = problem()
    n_steps = 50
    rates = halving(optimizer.base_learning_rate, n_steps)
    hyper = {
        key: getattr(optimizer, key)
        for key in ("momentum", "decay", "beta1", "beta2", "epsilon")
        if hasattr(optimizer, key)
    }
    parameters, state = {"W1": w[:, None]}, {}
    for rate in rates:
        grads = {"dW1": gradient(parameters["W1"][:, 0])[:, None]}
        parameters = reference.optimizer_step(
            parameters,
            grads,
            state,
            float(rate),
            optimizer=name,
            weight_decay=optimizer.weight_decay,
            **hyper,
        )
    got = trajectory(optimizer, w, gradient, n_steps)
    np.testing.assert_allclose(got, parameters["W1"][:, 0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_the_table_gives_the_steps_of_pytorch(name):
    torch = pytest.importorskip("torch")
    ours = configured(name)
    make = {
        "sgd": lambda p, **k: torch.optim.SGD(p, **k),
        "momentum": lambda p, **k: torch.optim.SGD(p, momentum=0.8, **k),
        "nesterov": lambda p, **k: torch.optim.SGD(p, momentum=0.8, nesterov=True, **k),
        "rmsprop": lambda p, **k: torch.optim.RMSprop(p, alpha=0.9, eps=1e-7, **k),
        "adam": lambda p, **k: torch.optim.Adam(p, betas=(0.8, 0.99), eps=1e-7, **k),
        "adamw": lambda p, **k: torch.optim.AdamW(p, betas=(0.8, 0.99), eps=1e-7, **k),
    }[name]
    w, gradient = problem()
    theirs = torch.from_numpy(w.copy()).requires_grad_()
    optimizer = make([theirs], lr=0.02, weight_decay=0.05)
    for rate in halving(0.02, 50):
        optimizer.param_groups[0]["lr"] = float(rate)
        theirs.grad = torch.from_numpy(gradient(theirs.detach().numpy().copy()))
        optimizer.step()
    got = trajectory(ours, w, gradient, 50)
    np.testing.assert_allclose(got, theirs.detach().numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("beta", [0.0, 1e-3, 0.5, 0.9, 0.999, 1 - 1e-12])
@pytest.mark.parametrize("t", [1, 2, 10, 1000, 10**9])
def test_bias_corrections_are_exact_to_the_last_digits(beta, t):
    row = opt.Adam(beta1=beta, beta2=beta).coefficients(t, 1, 1.0, "float64")[0]
    with decimal.localcontext() as context:
        context.prec = 60
        exact = 1 - decimal.Decimal(beta) ** t
        assert math.isclose(row[updates.STEP_SIZE], float(1 / exact), rel_tol=1e-15)
        scale = float(1 / exact.sqrt())
        assert math.isclose(row[updates.DENOMINATOR_SCALE], scale, rel_tol=1e-15)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_table_has_the_shape_and_type_the_kernels_read(name, dtype):
    table = configured(name).coefficients(7, 5, 0.1, dtype)
    assert table.shape == (5, updates.COEFFICIENTS)
    assert table.dtype == dtype
    assert table[0].flags.c_contiguous
    assert np.isfinite(table).all()
    whole = configured(name).coefficients(1, 11, 0.1, dtype)
    np.testing.assert_array_equal(table, whole[6:], "the number of the step alone decides")


def test_shares_are_not_spoilt_by_the_rounding_of_the_decays():
    row = opt.Adam(beta2=0.999).coefficients(1, 1, 1e-3, "float32")[0]
    assert row[updates.SECOND_SHARE] == np.float32(1 - 0.999)
    assert row[updates.SECOND_SHARE] != np.float32(1) - np.float32(0.999)


def test_a_wrong_column_would_be_noticed():
    optimizer = configured("adam")
    w, gradient = problem()
    (row,) = optimizer.coefficients(1, 1, 0.02, "float64")

    def step(row):
        return step_by_table(optimizer, w, gradient(w), [np.ones(12), np.ones(12)], row)

    for column in range(updates.COEFFICIENTS):
        wrong = row.copy()
        wrong[column] += 0.01
        assert np.abs(step(wrong) - step(row)).max() > 1e-6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1, 0.1, "float64"), "first_step is 0"),
        ((1, 0, 0.1, "float64"), "n_steps is 0"),
        ((1, 2, [0.1], "float64"), r"learning_rates has shape \(1,\), expected \(\) or \(2,\)"),
        ((1, 2, [0.1, -0.2], "float64"), "learning_rates holds -0.2"),
        ((1, 2, [0.1, np.inf], "float64"), "learning_rates holds inf"),
        ((1, 1, np.nan, "float64"), "learning_rates holds nan"),
        ((1, 1, 0.1, "float16"), "dtype is 'float16'"),
        ((1, 1, 1e300, "float32"), r"learning_rate 1e\+30. does not fit in float32"),
    ],
)
def test_coefficients_refuse(arguments, message):
    with pytest.raises(ValueError, match=message):
        opt.Adam().coefficients(*arguments)


def test_scalars_that_vanish_or_overflow_in_float32_are_refused():
    with pytest.raises(ValueError, match="epsilon 1e-60 is zero in float32"):
        opt.Adam(epsilon=1e-60).coefficients(1, 1, 0.1, "float32")
    assert opt.Adam(epsilon=1e-60).coefficients(1, 1, 0.1, "float64")[0, updates.EPSILON] == 1e-60
    with pytest.raises(ValueError, match=r"weight_decay 1e\+60 does not fit"):
        opt.SGD(weight_decay=1e60).coefficients(1, 1, 0.1, "float32")


# --- hyper-parameters and names -------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "hyper", "error", "message"),
    [
        ("sgd", {"learning_rate": -1}, ValueError, "learning_rate is -1"),
        ("sgd", {"learning_rate": math.nan}, ValueError, "learning_rate is nan"),
        ("sgd", {"learning_rate": "0.1"}, TypeError, "learning_rate is '0.1'"),
        ("sgd", {"learning_rate": True}, TypeError, "learning_rate is True"),
        ("sgd", {"weight_decay": -0.1}, ValueError, "weight_decay is -0.1"),
        ("sgd", {"schedule": "cosin"}, ValueError, "schedule is 'cosin'.*cosine"),
        ("momentum", {"momentum": 1.0}, ValueError, "momentum is 1.0"),
        ("nesterov", {"momentum": -0.1}, ValueError, "momentum is -0.1"),
        ("rmsprop", {"decay": 1}, ValueError, "decay is 1"),
        ("rmsprop", {"epsilon": 0}, ValueError, "epsilon is 0"),
        ("adam", {"beta1": 1.5}, ValueError, "beta1 is 1.5"),
        ("adam", {"beta2": math.inf}, ValueError, "beta2 is inf"),
        ("adamw", {"epsilon": -1e-8}, ValueError, "epsilon is -1e-08"),
    ],
)
def test_bad_hyper_parameters_are_named(name, hyper, error, message):
    with pytest.raises(error, match=message):
        opt.OPTIMIZERS[name](**hyper)


def test_optimizers_cannot_be_changed_and_compare_by_value():
    adam = opt.Adam(beta1=0.5)
    with pytest.raises(FrozenInstanceError):
        adam.beta1 = 0.6
    assert adam == opt.Adam(beta1=0.5) != opt.Adam()
    assert "beta1=0.5" in repr(adam)


@pytest.mark.parametrize("name", NAMES)
def test_names_resolve_with_defaults_filled_in(name):
    cls = opt.OPTIMIZERS[name]
    got = opt.resolve(name)
    assert type(got) is cls
    assert got.learning_rate == cls.default_learning_rate
    assert got.weight_decay == (0.01 if name == "adamw" else 0.0)
    assert opt.resolve(name, 0.5, 0.25, "cosine") == cls(
        learning_rate=0.5, weight_decay=0.25, schedule="cosine"
    )


def test_objects_resolve_to_themselves_with_what_the_call_adds():
    adam = opt.Adam(beta1=0.5)
    assert opt.resolve(adam, 0.1) == opt.Adam(beta1=0.5, learning_rate=0.1)
    assert adam.learning_rate is None
    rated = opt.Adam(learning_rate=0.1, weight_decay=0.2, schedule="step")
    assert opt.resolve(rated, 0.1, 0.2, "step") == rated
    for by_default in (opt.AdamW(), opt.SGD()):
        assert opt.resolve(by_default, weight_decay=0.5).weight_decay == 0.5
    assert opt.resolve(opt.AdamW(), weight_decay=0.0).weight_decay == 0.0


@pytest.mark.parametrize(
    ("optimizer", "more", "error", "message"),
    [
        ("adm", {}, ValueError, "optimizer is 'adm', expected one of sgd, momentum, .*'adam'"),
        (3, {}, TypeError, "optimizer is 3, expected one of sgd, .* or an object such as Adam"),
        (opt.Adam, {}, TypeError, "expected one of sgd"),
        (opt.SGD(learning_rate=0.1), {"learning_rate": 0.2}, ValueError, "given twice: 0.1 by SGD"),
        (opt.SGD(schedule="step"), {"schedule": "cosine"}, ValueError, "schedule is given twice"),
        (opt.Adam(weight_decay=0.1), {"weight_decay": 0.2}, ValueError, "0.1 by Adam and 0.2"),
        (opt.AdamW(weight_decay=0.1), {"weight_decay": 0.0}, ValueError, "0.1 by AdamW and 0.0"),
        ("sgd", {"learning_rate": -1.0}, ValueError, "learning_rate is -1.0"),
        ("sgd", {"weight_decay": -1.0}, ValueError, "weight_decay is -1.0"),
    ],
)
def test_resolve_refuses(optimizer, more, error, message):
    with pytest.raises(error, match=message):
        opt.resolve(optimizer, **more)


# --- schedules ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "epochs", "expected"),
    [
        (None, 3, [1, 1, 1]),
        ("constant", 3, [1, 1, 1]),
        (opt.Step(every=2, factor=0.5), 5, [1, 1, 0.5, 0.5, 0.25]),
        (opt.Exponential(factor=0.5), 4, [1, 0.5, 0.25, 0.125]),
        ("cosine", 4, [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]),
        (opt.Cosine(epochs=2, floor=0.5), 5, [1, 0.75, 0.5, 0.5, 0.5]),
        (opt.WarmUp(epochs=2), 4, [1 / 3, 2 / 3, 1, 1]),
        (opt.WarmUp(epochs=2, then="cosine"), 6, [1 / 3, 2 / 3, 1, 0.853553, 0.5, 0.146447]),
        (opt.WarmUp(epochs=3, then="cosine"), 2, [1 / 4, 2 / 4]),
        (opt.WarmUp(epochs=1, then=opt.WarmUp(epochs=1, then="cosine")), 4, [0.5, 0.5, 1, 0.5]),
        (lambda epoch: 1 / (1 + epoch), 3, [1, 1 / 2, 1 / 3]),
    ],
)
def test_learning_rates_of_the_schedules(schedule, epochs, expected):
    rate = opt.LearningRate(10.0, schedule, epochs)
    got = [rate.at(epoch) for epoch in range(epochs)]
    np.testing.assert_allclose(got, np.multiply(10.0, expected), rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("name", ["warm-up", "warm_up", "reduce-on-plateau", *opt.SCHEDULES])
def test_every_named_schedule_starts_a_training(name):
    assert 0 < opt.LearningRate(1.0, name, 20).at(0) <= 1


def test_plateau_lowers_the_rate_after_patience_and_stops_at_the_floor():
    plan = opt.ReduceOnPlateau(factor=0.5, patience=1, floor=0.2, tolerance=0.01)
    rate = opt.LearningRate(1.0, plan, 99)
    seen = []
    for cost in [100.0, 50.0, 49.9, 60.0, 60.0, 60.0, 60.0, 60.0, 60.0]:
        rate.observe(cost)
        seen.append(rate.at(0))
    assert seen == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2]


@pytest.mark.parametrize("first", [math.inf, math.nan])
def test_a_plateau_takes_only_a_finite_cost_for_the_best(first):
    rate = opt.LearningRate(1.0, opt.ReduceOnPlateau(factor=0.5, patience=1), 99)
    rate.observe(first)
    assert json.dumps(rate.state(), allow_nan=False)
    for cost in [3.0, 2.0, first, 1.0, 1.5]:
        rate.observe(cost)
    assert rate.state() == {"factor": 1.0, "best": 1.0, "waited": 1}


def test_plateau_goes_on_from_its_saved_state():
    costs = [1.0, 1.1, 1.2, 0.9, 1.0, 1.0, 1.0, 1.0]
    plan = opt.ReduceOnPlateau(factor=0.5, patience=1)
    whole = opt.LearningRate(1.0, plan, 99)
    for cost in costs:
        whole.observe(cost)
    for cut in range(len(costs)):
        first, second = opt.LearningRate(1.0, plan, 99), opt.LearningRate(1.0, plan, 99)
        for cost in costs[:cut]:
            first.observe(cost)
        second.restore(first.state())
        for cost in costs[cut:]:
            second.observe(cost)
        assert second.state() == whole.state()
        assert second.at(9) == whole.at(9) == 0.125


def test_costs_do_not_move_the_other_schedules():
    rate = opt.LearningRate(1.0, "step", 5)
    for _ in range(30):
        rate.observe(1.0)
    assert rate.at(0) == 1.0


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "state has keys"),
        ({"factor": 1.0, "best": None, "waited": 0, "more": 1}, "state has keys"),
        ({"factor": -1.0, "best": None, "waited": 0}, "factor is -1.0"),
        ({"factor": 1.0, "best": math.nan, "waited": 0}, "best is nan"),
        ({"factor": 1.0, "best": None, "waited": -3}, "waited is -3"),
    ],
)
def test_bad_states_are_refused(state, message):
    with pytest.raises(ValueError, match=message):
        opt.LearningRate(1.0, "reduce_on_plateau", 5).restore(state)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: opt.Step(every=0), ValueError, "every is 0"),
        (lambda: opt.Step(every=2.0), TypeError, "every is 2.0"),
        (lambda: opt.Exponential(factor=-1), ValueError, "factor is -1"),
        (lambda: opt.Cosine(epochs=0), ValueError, "epochs is 0"),
        (lambda: opt.Cosine(floor=1.0), ValueError, "floor is 1.0"),
        (lambda: opt.Cosine()(0), ValueError, "Cosine.epochs is None"),
        (lambda: opt.WarmUp(epochs=0), ValueError, "epochs is 0"),
        (lambda: opt.WarmUp(then="reduce_on_plateau"), ValueError, "then is ReduceOnPlateau"),
        (lambda: opt.ReduceOnPlateau(factor=1.0), ValueError, "factor is 1.0"),
        (lambda: opt.ReduceOnPlateau(patience=-1), ValueError, "patience is -1"),
        (lambda: opt.ReduceOnPlateau(tolerance=-1), ValueError, "tolerance is -1"),
        (lambda: opt.resolve_schedule("linear"), ValueError, "schedule is 'linear', expected one"),
        (lambda: opt.resolve_schedule(0.5), TypeError, "schedule is 0.5, expected one of constant"),
        (lambda: opt.resolve_schedule(opt.Cosine), TypeError, "or a callable"),
        (
            lambda: opt.LearningRate(1.0, lambda e: -1.0, 2).at(1),
            ValueError,
            r"schedule\(1\) is -1",
        ),
        (
            lambda: opt.LearningRate(1.0, lambda e: None, 2).at(0),
            TypeError,
            r"schedule\(0\) is Non",
        ),
        (lambda: opt.LearningRate(-1.0, None, 2), ValueError, "learning_rate is -1"),
        *(
            (partial(opt.LearningRate(1.0, plan, 999).at, 990), ValueError, r"\(990\) is too large")
            for plan in (opt.Step(every=3, factor=10.0), opt.Exponential(factor=3.0))
        ),
    ],
)
def test_bad_schedules_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("name", ["step", "exponential", "cosine", "plateau"])
def test_schedules_agree_with_pytorch(name):
    torch = pytest.importorskip("torch")
    scheduler = torch.optim.lr_scheduler
    ours, make = {
        "step": (opt.Step(every=3, factor=0.5), lambda o: scheduler.StepLR(o, 3, 0.5)),
        "exponential": (
            opt.Exponential(factor=0.9),
            lambda o: scheduler.ExponentialLR(o, 0.9),
        ),
        "cosine": (
            opt.Cosine(epochs=20, floor=0.1),
            lambda o: scheduler.CosineAnnealingLR(o, 20, eta_min=0.1),
        ),
        "plateau": (
            opt.ReduceOnPlateau(factor=0.5, patience=2),
            lambda o: scheduler.ReduceLROnPlateau(o, factor=0.5, patience=2),
        ),
    }[name]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs, rate = make(optimizer), opt.LearningRate(1.0, ours, 20)
    costs = np.random.default_rng(1).uniform(0.5, 1.0, 20)
    for epoch, cost in enumerate(costs):
        assert math.isclose(rate.at(epoch), optimizer.param_groups[0]["lr"], rel_tol=1e-12)
        optimizer.step()
        theirs.step(*([float(cost)] if name == "plateau" else []))
        rate.observe(float(cost))
