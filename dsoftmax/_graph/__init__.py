"""Dask only: arrays of blocks, stages, trees and second readings."""
