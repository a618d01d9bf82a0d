"""What is prepared before the appliance's snapshot is taken is not done again in a seal."""

from __future__ import annotations

from vmseal.seal import catalogue, pattern
from vmseal.seal.warm import warm


def test_the_patterns_of_the_catalogue_are_compiled_beforehand_for_every_home() -> None:
    warm()
    misses = pattern._names.cache_info().misses
    for operation in catalogue.load():
        pattern.places(operation.remove, ["/root", "/home/a", "/srv/git"])
        pattern.places(operation.remove_files, ["/home/b"])
    assert pattern._names.cache_info().misses == misses
    assert pattern._names.cache_info().currsize < pattern.CACHED
