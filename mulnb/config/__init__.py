"""Profiles: every number of an experiment, checked before anything is computed.

A profile is a YAML file (`mulnb/profiles/*.yaml`, or one of yours). `load_profile` reads it and returns a frozen `Profile`.
"""

from mulnb.config.reading import check_is_profile, known_profiles, load_profile, parse_override
from mulnb.config.schema import (
    STRATEGIES,
    Axis,
    Dataset,
    HoldoutRetraining,
    LossCurvature,
    Model,
    Profile,
    Recipe,
    Rum,
    Scores,
)
