"""Licences of public checkpoints: which need an explicit yes, and the refusal of work without it."""

from typing import NamedTuple

from replication.errors import ConfigError
from replication.settings.schema import Root

PERMISSIVE = ("apache-2.0", "mit", "bsd-3-clause")
"""Licences without conditions on use; every other one may have some, so a person has to read it."""


class Restricted(NamedTuple):
    """A licence that needs a yes, and the models of the study under it."""

    licence: str
    models: tuple[str, ...]
    gated: bool
    """Whether the hub asks for an account that accepted it, for at least one of them."""
    is_accepted: bool


def restricted(root: Root) -> list[Restricted]:
    """List the licences of the study's models that are gated or not permissive, in the order of their names."""
    found: dict[str, list[str]] = {}
    for name, model in sorted(root.models.items()):
        licence = model.licence or ("unknown" if model.gated else None)
        if licence is not None and (model.gated or licence.lower() not in PERMISSIVE):
            found.setdefault(licence, []).append(name)
    return [
        Restricted(licence, tuple(names), any(root.models[n].gated for n in names), licence in root.licences.accepted)
        for licence, names in sorted(found.items())
    ]


def require_accepted(root: Root) -> None:
    """Raise ConfigError unless the user has accepted every licence that needs it."""
    open_ones = [one for one in restricted(root) if not one.is_accepted]
    if not open_ones:
        return
    listed = "; ".join(
        f"{one.licence}: {', '.join(root.models[name].path for name in one.models)}{' (gated)' * one.gated}"
        for one in open_ones
    )
    accepted = ",".join(one.licence for one in [*restricted(root)] if one in open_ones or one.is_accepted)
    raise ConfigError(
        f"study `{root.study.name}` has models whose licences restrict their use, or were not read: {listed}. Read them on "
        f"the page of each model on the hub, then state `'licences.accepted=[{accepted}]'`, or leave the models out."
    )
