"""Retraining: the communication penalty, the budget, the loop."""
