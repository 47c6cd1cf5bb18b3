"""The notebooks' functions, compiled: same names, same order of arguments, same numbers.

Examples are columns: X (n_x, m), Y (n_y, m). Float32 and float64 compute in their own precision
end to end; integers, bools and float16 are cast to float64. The caller's arrays are never
modified, except by ``update_parameters(..., inplace=True)``, and caches hold the very arrays that
were passed. Shapes and dtypes are always checked; NaN goes in and comes out as in NumPy, except in
the training calls, which want finite numbers.
"""

from .activations import (
    identity,
    identity_backward,
    leaky_relu,
    leaky_relu_backward,
    relu,
    relu_backward,
    sigmoid,
    sigmoid_backward,
    softmax,
    softmax_backward,
    softplus,
    softplus_backward,
    tanh,
    tanh_backward,
)
from .layers import (
    back_prop_single_step,
    linear_activation_backward,
    linear_activation_forward,
    linear_backward,
    linear_forward,
)
from .losses import compute_cost
from .model import L_Layer_Back_Prop, L_model_backward, L_model_forward, model_backward
from .training import (
    L_layer_model,
    accuracy,
    initialise_parameters,
    initialise_parameters_deep,
    initialize_parameters,
    initialize_parameters_deep,
    predict,
    two_layer_model,
    update_parameters,
)

__all__ = [
    "L_Layer_Back_Prop",
    "L_layer_model",
    "L_model_backward",
    "L_model_forward",
    "accuracy",
    "back_prop_single_step",
    "compute_cost",
    "identity",
    "identity_backward",
    "initialise_parameters",
    "initialise_parameters_deep",
    "initialize_parameters",
    "initialize_parameters_deep",
    "leaky_relu",
    "leaky_relu_backward",
    "linear_activation_backward",
    "linear_activation_forward",
    "linear_backward",
    "linear_forward",
    "model_backward",
    "predict",
    "relu",
    "relu_backward",
    "sigmoid",
    "sigmoid_backward",
    "softmax",
    "softmax_backward",
    "softplus",
    "softplus_backward",
    "tanh",
    "tanh_backward",
    "two_layer_model",
    "update_parameters",
]
