"""States and dtypes: arrays of any library, and nothing of Dask or of compilers."""
