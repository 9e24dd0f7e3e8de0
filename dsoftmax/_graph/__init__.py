"""Graphs, which need only Dask: aligned blocks, stages, trees and second reads."""
