"""What a kernel does with a slice, on a CPU or a CUDA device."""

# Take its state (m, w, s); map it to the output, which is exp(x - m) / d or, with LOGARITHM,
# (x - m) - log d.
REDUCE, APPLY, LOGARITHM = 1, 2, 4
