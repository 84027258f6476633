"""What everything stands on: errors, paths, the store, workers, statistics, names. Nothing here knows of a study."""
