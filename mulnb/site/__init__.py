"""A static web site of published results: pages that open from disk, without an installation, a kernel or the network."""
