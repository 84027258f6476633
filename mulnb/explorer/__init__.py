"""The threshold explorer of notebook 06."""

from mulnb.explorer.panel import Explorer, explore

__all__ = ["Explorer", "explore"]
