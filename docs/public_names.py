"""The public names of the library: what the reference documents and the tests run the examples of."""

from types import ModuleType

MODULES = (
    "transforms",
    "scores",
    "metrics",
    "results",
    "report",
    "datasets",
    "datasets.phantom",
    "datasets.lidc",
    "data",
    "networks",
    "networks.checkpoints",
    "losses",
    "inferers",
    "handlers",
    "engines",
    "prediction",
    "tables",
    "bundle",
    "benchmark",
    "vocabulary.ids",
    "vocabulary.shifts",
    "vocabulary.titles",
)


def public_names(module: ModuleType) -> list[str]:
    """Return what the module lists in ``__all__``, else what it defines without an underscore."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return sorted(listed)
    return sorted(
        name
        for name, thing in vars(module).items()
        if not name.startswith("_") and getattr(thing, "__module__", None) == module.__name__
    )
