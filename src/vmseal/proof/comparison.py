"""Comparing two clones with each other, with their template, and with the machine that it was made of."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from vmseal.seal.identities import IdentitiesReport

MACHINE_ID = "machine-id"
HOSTNAME = "hostname"
NO_NAMES = frozenset({"localhost", "localhost.localdomain", "(none)"})  # what a machine is called that has no name
NO_MACHINE = frozenset({"0" * 32})
# Random data that a clone replaces at its first boot, when it has had its effect.
SEEDS = ("random-seed", "boot-loader-seed")
SHOWN = 50  # characters of a value
ADVICE = {
    MACHINE_ID: "/etc/machine-id must be empty in a template: vmseal seal makes it so",
    HOSTNAME: "seal with another host name, or allow it",
    "ssh-host-key": "whoever has one clone can pass for the other; the template must have no host keys",
    "random-seed": "the first keys of all clones come from the same randomness; the template must have none",
}


@dataclass(frozen=True)
class Comparison:
    """What is alike, by name, and the reasons why that is no proof; without reasons it is one."""

    shared: tuple[str, ...] = ()
    equal_to_template: tuple[str, ...] = ()
    equal_to_source: tuple[str, ...] = ()
    reasons: tuple[str, ...] = field(default=())


def compare(
    clones: Sequence[IdentitiesReport],
    template: IdentitiesReport,
    source: IdentitiesReport | None = None,
    *,
    allowed: Collection[str] = (),
) -> Comparison:
    """Compare the clones; ``allowed``: names of identities that may be alike."""
    one, other = clones
    shared = {name for name in one.identities if _alike(name, one.identities, other.identities)}
    shared |= {name for name in template.identities if name.startswith(SEEDS)}
    # A file that a clone has made anew may well have the same content in the other: it names nobody.
    shared |= {
        name for name, digest in template.files.items() if digest == one.files.get(name) == other.files.get(name)
    } - _doubles(shared, template)
    of_template = {name for clone in clones for name in _taken(clone, template)}
    of_source = {name for clone in clones for name in _taken(clone, source)} if source else set[str]()
    for names in (shared, of_template, of_source):
        names.difference_update(allowed)
    reasons = [*_no_machine(clones), *_reasons(one, template, shared, of_template, of_source)]
    return Comparison(_sorted(shared), _sorted(of_template), _sorted(of_source), tuple(reasons))


def _alike(name: str, one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    value = one.get(name)
    return value is not None and value == other.get(name) and not (name == HOSTNAME and value in NO_NAMES)


def _taken(clone: IdentitiesReport, origin: IdentitiesReport) -> Iterator[str]:
    """Yield what the clone has from where it comes."""
    yield from (name for name in origin.identities if _alike(name, origin.identities, clone.identities))


def _doubles(shared: set[str], template: IdentitiesReport) -> set[str]:
    """Return the files that are told of under a name of their own already."""
    told = {template.identities.get(name) for name in shared}
    return {name for name, digest in template.files.items() if digest in told or name.startswith("ssh-hostkeys ")}


def _no_machine(clones: Sequence[IdentitiesReport]) -> Iterator[str]:
    for number, clone in enumerate(clones, start=1):
        if clone.identities.get(MACHINE_ID, "0" * 32) in NO_MACHINE:
            yield f"clone {number} has no machine id after its first boot"


def _reasons(
    clone: IdentitiesReport, template: IdentitiesReport, shared: set[str], of_template: set[str], of_source: set[str]
) -> Iterator[str]:
    for name in _sorted(shared | of_template | of_source):
        value = _shown(clone.identities.get(name) or template.files.get(name, ""))
        if name.startswith(SEEDS) and name in template.identities:
            value = _shown(template.identities[name])
            text = f"the template holds a random seed ({name}, {value}), with which all clones start"
        elif name in shared and (name in of_template or name in template.files):
            text = f"{name} is fixed in the template: both clones have {value}"
        elif name in shared:
            text = f"both clones have the same {name}: {value}"
        else:
            text = f"a clone has the {name} of the {'template' if name in of_template else 'source'}: {value}"
        if name in of_source and "source" not in text:
            text += ", which is the source's"
        yield f"{text}{_advice(name)}"


def _advice(name: str) -> str:
    return next((f" ({advice})" for start, advice in ADVICE.items() if name.startswith(start)), "")


def _shown(value: str) -> str:
    return value if len(value) <= SHOWN else f"{value[:SHOWN]}…"


def _sorted(names: set[str]) -> tuple[str, ...]:
    """Sort names so that the machine id, from which others are made, comes first."""
    return tuple(sorted(names, key=lambda name: (name != MACHINE_ID, name)))


def newly_failed(clones: Sequence[IdentitiesReport], known: Collection[str]) -> tuple[str, ...]:
    """Return the units that failed in a clone and are not known to fail."""
    failed = {unit for clone in clones if clone.first_boot for unit in clone.first_boot.failed_units}
    return tuple(sorted(failed - set(known)))
