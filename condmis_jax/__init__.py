"""Conditional misalignment on open weights: train an intervention, ask with and without triggers.

Paper: "Conditional misalignment", arXiv 2604.25891. ARCHITECTURE.md describes the rooms.
"""

__version__ = "0.1.0"
