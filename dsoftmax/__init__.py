"""Exact, parallel and lazy softmax, log-softmax and log-sum-exp of Dask arrays."""

from importlib import import_module as _import_module

__version__ = "0.1.0"

# Imported on first use: the imports take a second, and the command line must handle Ctrl-C before.
_HOMES = {
    "GumbelTopK": "_results",
    "Normalizer": "_normalizer",
    "TopK": "_results",
    "TopKWithLog": "_results",
    "choice": "_draws",
    "compile": "_compile",
    "cross_entropy": "_cross_entropy",
    "cumulative_logsumexp": "_cumulative",
    "dashboard": "dashboard",
    "dataframe": "dataframe",
    "effective_sample_size": "_statistics",
    "entropy": "_statistics",
    "expectation": "_statistics",
    "grouped": "grouped",
    "gumbel_topk": "_draws",
    "log_softmax": "_softmax",
    "logsumexp": "_softmax",
    "operations": "operations",
    "reference": "reference",
    "reread": "_reread",
    "softmax": "_softmax",
    "softmax_matmul": "_softmax_matmul",
    "softmax_topk": "_topk",
    "topk": "_topk",
    "xarray": "xarray",
}

# Without `compile`, which is Python's too, and the modules that need pandas or xarray.
__all__ = sorted({*_HOMES} - {"compile", "dataframe", "xarray"})


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _import_module(f".{_HOMES[name]}", __name__)
    value = module if _HOMES[name] == name else getattr(module, name)
    return globals().setdefault(name, value)


def __dir__() -> list[str]:
    return sorted({"__version__", "__doc__", "__file__", "__path__", *_HOMES})
