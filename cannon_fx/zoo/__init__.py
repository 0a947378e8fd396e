"""Models that others wrote: does each compile, keep its outputs and gradients, and is every layer accounted for?"""
