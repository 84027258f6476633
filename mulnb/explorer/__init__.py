"""The threshold explorer of notebook 06."""

from mulnb.explorer.panel import Explorer

__all__ = ["Explorer"]
