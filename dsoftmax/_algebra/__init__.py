"""States and dtypes, for arrays of any library; independent of Dask and of compilers."""
