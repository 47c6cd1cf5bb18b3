"""Checks of settings that are one name or one number."""

import re
from fractions import Fraction

import numpy as np
import pytest
from check_cases import refuses

from fastdnn import checks

NAMES = ("identity", "relu", "sigmoid")


class TestNames:
    def test_choice(self):
        assert checks.choice("loss", "relu", NAMES) == "relu"

    @pytest.mark.parametrize(
        ("value", "error", "tail"),
        [
            ("reul", ValueError, "; did you mean 'relu'?"),
            ("ReLU", ValueError, "; did you mean 'relu'?"),
            ("swish", ValueError, ""),
            ("", ValueError, ""),
            (None, TypeError, ""),
            (["relu"], TypeError, ""),
        ],
    )
    def test_choice_refuses(self, value, error, tail):
        message = f"activation is {value!r}, expected one of identity, relu, sigmoid{tail}"
        with pytest.raises(error, match="^" + re.escape(message) + "$"):
            checks.choice("activation", value, NAMES)


class TestNumbers:
    @pytest.mark.parametrize(
        ("value", "at_least"), [(1, 1), (np.int8(3), 1), (np.uint64(2**63), 1), (0, 0), (10**30, 1)]
    )
    def test_whole_number(self, value, at_least):
        number = checks.whole_number("epochs", value, at_least=at_least)
        assert number == value
        assert type(number) is int

    @pytest.mark.parametrize(
        ("value", "error"),
        [
            (0, ValueError),
            (-1, ValueError),
            (2.0, TypeError),
            (np.float64(2), TypeError),
            (True, TypeError),
            (np.True_, TypeError),
            ("2", TypeError),
            (None, TypeError),
            (np.array([2]), TypeError),
        ],
    )
    def test_whole_number_refuses(self, value, error):
        message = f"epochs is {value!r}, expected a whole number >= 1"
        refuses(error, message, checks.whole_number, "epochs", value)

    def test_n_threads_may_be_left_open(self):
        assert checks.n_threads(None) is None
        assert checks.n_threads(np.int64(4)) == 4

    def test_seed(self):
        assert checks.seed(np.uint32(0)) == 0
        assert checks.seed(2**32 - 1) == 2**32 - 1

    @pytest.mark.parametrize(
        ("check", "value", "error", "message"),
        [
            (checks.n_threads, 0, ValueError, "n_threads is 0, expected a whole number >= 1"),
            (checks.n_threads, 1.5, TypeError, "n_threads is 1.5, expected a whole number >= 1"),
            (checks.seed, -1, ValueError, "seed is -1, expected a whole number >= 0"),
            (checks.seed, 2**32, ValueError, "seed is 4294967296, expected a whole number below"),
            (checks.seed, None, TypeError, "seed is None, expected a whole number >= 0"),
            (checks.seed, "x", TypeError, "seed is 'x', expected a whole number >= 0"),
        ],
    )
    def test_n_threads_and_seed_refuse(self, check, value, error, message):
        refuses(error, message, check, value)

    @pytest.mark.parametrize(
        "value", [0, 0.5, 1, np.float32(0.5), np.int64(2), Fraction(1, 4), 1e-300]
    )
    def test_learning_rate(self, value):
        rate = checks.learning_rate(value)
        assert rate == value
        assert type(rate) is float

    @pytest.mark.parametrize(
        ("value", "error"),
        [
            (-0.1, ValueError),
            (np.nan, ValueError),
            (np.inf, ValueError),
            (np.float32(-1), ValueError),
            ("0.1", TypeError),
            (None, TypeError),
            (True, TypeError),
            (np.False_, TypeError),
            (1j, TypeError),
            (np.array(0.1), TypeError),
        ],
    )
    def test_learning_rate_refuses(self, value, error):
        message = f"learning_rate is {value!r}, expected a finite number >= 0"
        refuses(error, message, checks.learning_rate, value)

    def test_an_integer_beyond_every_float_is_not_finite(self):
        with pytest.raises(ValueError, match=r"expected a finite number >= 0$"):
            checks.learning_rate(10**400)

    @pytest.mark.parametrize("value", [0, 0.5, np.float32(0.9), 1 - 2**-53])
    def test_probability(self, value):
        assert checks.probability("dropout", value) == value

    @pytest.mark.parametrize("value", [1, -1e-9, 1.5, np.nan])
    def test_probability_refuses(self, value):
        message = f"dropout is {value!r}, expected a finite number >= 0 and < 1"
        refuses(ValueError, message, checks.probability, "dropout", value)

    @pytest.mark.parametrize(
        ("bounds", "good", "bad", "message"),
        [
            ({}, -5, np.nan, "x is nan, expected a finite number"),
            ({"above": 0}, 1e-9, 0, "x is 0, expected a finite number > 0"),
            ({"above": 0, "below": 1}, 0.5, 1, "x is 1, expected a finite number > 0 and < 1"),
        ],
    )
    def test_real_number_bounds(self, bounds, good, bad, message):
        assert checks.real_number("x", good, **bounds) == good
        with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
            checks.real_number("x", bad, **bounds)
