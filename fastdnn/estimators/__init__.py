"""Scikit-learn estimators over `fastdnn.DNN`: drop-in, faster `MLPClassifier` and `MLPRegressor`.

Needs scikit-learn 1.6 or later: ``pip install 'fastdnn[sklearn]'``. Examples are rows here.
"""

try:
    from sklearn.utils.validation import validate_data  # noqa: F401  (new in 1.6)
except ImportError as error:
    raise ImportError(
        "fastdnn.estimators needs scikit-learn 1.6 or later: pip install 'fastdnn[sklearn]'"
    ) from error

from .classifier import DNNClassifier
from .regressor import DNNRegressor

__all__ = ["DNNClassifier", "DNNRegressor"]
