"""CUDA kernels for CuPy blocks."""
