"""What is true, in 60 digits: the oracle that results are measured against."""

import mpmath
import numpy as np

mpmath.mp.dps = 60
EPS = 2.0**-53


def _terms(x, b=None):
    x = np.asarray(x).ravel()
    b = np.ones(x.shape) if b is None else np.broadcast_to(b, x.shape)
    return [(mpmath.mpf(float(w)), mpmath.mpf(float(v))) for w, v in zip(b, x, strict=True)]


def exp_sum(x, b=None):
    """sum b exp(x) of finite numbers (or x = -inf)."""
    return mpmath.fsum(w * mpmath.exp(v) for w, v in _terms(x, b))


def logsumexp(x, b=None):
    return mpmath.log(exp_sum(x, b))


def softmax(x):
    total = exp_sum(x)
    return [mpmath.exp(v) / total for _, v in _terms(x)]


def log_softmax(x):
    total = logsumexp(x)
    return [v - total for _, v in _terms(x)]


def relative_error(actual, expected):
    """The largest |actual - expected| / |expected|, where 0 has to be met exactly."""
    actual = np.asarray(actual).ravel()
    errors = [
        abs(mpmath.mpf(float(a)) - e) / (abs(e) if e else mpmath.mpf("1e-400"))
        for a, e in zip(actual, expected, strict=True)
    ]
    return float(max(errors))
