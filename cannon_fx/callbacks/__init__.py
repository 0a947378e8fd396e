"""Callbacks for trainers that own the training loop: one module for each, which needs that trainer's package.

`cannon_fx.callbacks.huggingface` is for transformers' Trainer, `cannon_fx.callbacks.lightning` for Lightning's.
"""
