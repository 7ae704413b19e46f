"""Install official harnesses into their own virtual environments: `python -m replication harness bfcl`.

The packages are those of `requirements/harness/NAME.lock`. A harness is also installed at its first use. Tools that are in
no registry of packages run from a clone of their repository; the command that fetches it is printed.
"""

from replication.errors import ConfigError


def main(arguments: list[str]) -> None:
    """Install the harnesses that are named."""
    from replication.collect.benchmarks.official import recipes, venvs

    known = recipes()
    unknown = [name for name in arguments if name not in known]
    if unknown or not arguments:
        raise ConfigError(
            f"`harness` installs {', '.join(sorted(known))}; got {', '.join(unknown) or 'no name'}. Name one of them."
        )
    for name in arguments:
        recipe = known[name]
        what = f"what {name} imports" if recipe.clone else f"{name} {recipe.version}"
        print(f"harness: `{venvs.ensure(recipe)}` has {what}")
        if recipe.clone:
            print(
                f"harness: {name} itself is in no registry of packages. Fetch it with `{recipe.clone}`, and name that "
                f"folder in `options.launch.checkout`"
            )
