"""A network with the numbers that its chip computes with: integer weights and activations, sums read by ADCs."""
