"""What the tests of the checks share."""

import re
import sys

import numpy as np
import pytest

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
SWAPPED = ">" if sys.byteorder == "little" else "<"  # the byte order of other machines


def refuses(error, message, check, *args, **kwargs):
    """The check raises this error, with a message that begins so."""
    with pytest.raises(error, match="^" + re.escape(message)):
        check(*args, **kwargs)
