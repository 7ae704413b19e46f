"""Install official harnesses into their own virtual environments: `python -m replication harness bfcl`.

The packages are those of `requirements/harness/NAME.lock`. A harness is also installed at its first use.
"""

from replication.errors import ConfigError


def main(arguments: list[str]) -> None:
    """Install the harnesses that are named."""
    from replication.collect.benchmarks.official import bfcl, venvs

    recipes = {recipe.name: recipe for recipe in (bfcl.RECIPE,)}
    unknown = [name for name in arguments if name not in recipes]
    if unknown or not arguments:
        raise ConfigError(
            f"`harness` installs {', '.join(sorted(recipes))}; got {', '.join(unknown) or 'no name'}. Name one of them."
        )
    for name in arguments:
        print(f"harness: `{venvs.ensure(recipes[name])}` has {name} {recipes[name].version}")
