"""`mmfeat recipes`: what can be learned, with its settings."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Annotated

import typer

__all__ = ["recipes"]


def recipes(
    name: Annotated[str | None, typer.Argument(help="Show this recipe with its settings.", show_default=False)] = None,
) -> None:
    """List the recipes, or show one with its settings."""
    from mmfeat import registry
    from mmfeat.pipelines.fitting import find_recipe

    if name is None:
        for key, cls in registry.recipes().items():
            typer.echo(f"{registry.hyphens(key):<18} {(inspect.getdoc(cls) or '').splitlines()[0]}")
        typer.echo(
            "\nSettings of one: mmfeat recipes NAME. Learners: " + ", ".join(map(registry.hyphens, registry.learners()))
        )
        return
    recipe = find_recipe(name)
    typer.echo(
        f"{registry.hyphens(registry.name_of(type(recipe)))}\n\n{inspect.getdoc(type(recipe))}\n\nSettings (--set NAME=VALUE):"
    )
    for field in dataclasses.fields(recipe):
        typer.echo(f"  {field.name} = {getattr(recipe, field.name)!r}")
