"""kdpinn_edge: distilled physics-informed neural networks as small, bit-exact C libraries."""
