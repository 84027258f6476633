"""The foundation: errors, paths, the store, workers, statistics and names. Nothing here knows about a study."""
