"""What holds for every test."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, not whether the code is right. Where CI is
# set, hypothesis has a profile that draws the same examples each time, and that stays so.
settings.register_profile(
    "skygrid",
    settings.get_profile(settings.get_current_profile_name()),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("skygrid")
