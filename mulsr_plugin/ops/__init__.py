"""Differentiable operations that the networks share; PyTorch alone is needed."""
