"""Compiled kernels for NumPy blocks."""
