"""Reads what every module imports, and says which imports go against the plan of the house (DESIGN 1)."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOVED = ("indexes", "pipelines", "cli")

# Each row may import the rows before it, and what stands in its own row after the colon.
ROWS = (
    "errors",
    "arrays files: errors arrays files",
    "host",
    "mesh stream gathering progress log: stream",
    "optimise objectives augment networks lasso lasso_host lasso_kernels: lasso_kernels",
    "pool sparse_pool",
    "learner chain encoder settings registry checkpoint: learner chain settings registry",
    "media: media",
    "descriptors: descriptors",
    "learners: learners",
    "resume",
    "stages: stages",
    "plan",
    "classify: classify",
    "model: model",
    "evaluate: evaluate",
    "visualise: visualise",
    "sklearn: sklearn",
    "pipelines: pipelines",
    "cli: cli",
    "__main__",
)
NEVER = {
    "learners": {"media", "descriptors"},
    "media": {"learner", "chain", "checkpoint"},
    "descriptors": {"learner", "learners"},
    "classify": {"media", "descriptors"},
}
INDEXES = {"errors", "arrays", "files", "progress", "indexes"}  # all that indexes may see
SEE_INDEXES = {"indexes", "pipelines", "cli"}  # all that may see indexes
FOREIGN = {  # packages of others, and the only parts that may import them, at the top or within functions
    "faiss": {"indexes", "learners", "evaluate"},
    "typer": {"cli"},
    "jinja2": {"visualise"},
    "matplotlib": {"visualise"},
    "orbax": {"checkpoint"},
    "librosa": {"descriptors", "media"},
    "av": {"media"},
    "PIL": {"media", "visualise", "pipelines", "model"},
}
FORBIDDEN = {"pickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}


def modules(root: Path = ROOT) -> dict[str, str]:
    """The source of every module by its name, the moved folders under theirs."""
    found = {}
    for top in ("mmfeat", *MOVED):
        for file in sorted((root / top).rglob("*.py")):
            parts = file.relative_to(root).with_suffix("").parts
            name = ".".join(part for part in parts if part != "__init__")
            found[name if top == "mmfeat" else f"mmfeat.{name}"] = file.read_text("utf-8")
    return found


def imports(source: str) -> list[tuple[str, int, bool]]:
    """(module, line, whether it is imported with the module) of every import, except those that only type checkers see."""
    found = []
    for node, outside in _walk(ast.parse(source), True):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            whole = base in ("mmfeat", *(f"mmfeat.{part}" for part in _allowed()))
            names = [f"{base}.{alias.name}" for alias in node.names] if whole else [base]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "__import__"):
            names = [str(each.value) for each in node.args[:1] if isinstance(each, ast.Constant)]
        else:
            continue
        found += [(each, node.lineno, outside) for each in names]
    return found


def _walk(node: ast.AST, outside: bool) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child, outside
        yield from _walk(child, outside and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))


def part_of(module: str) -> str:
    """The part of mmfeat a module belongs to: "mmfeat.media.walk" is of "media"; "" for mmfeat itself and for others."""
    head, _, rest = module.partition(".")
    return rest.partition(".")[0] if head == "mmfeat" else ""


def _allowed() -> dict[str, set[str]]:
    allowed: dict[str, set[str]] = {}
    before: set[str] = set()
    for row in ROWS:
        names, _, same = row.partition(":")
        for name in names.split():
            allowed[name] = (before | set(same.split())) - NEVER.get(name, set())
        before |= set(names.split())
    for name in allowed.keys() & SEE_INDEXES:
        allowed[name].add("indexes")
    return allowed | {"indexes": INDEXES}


def violations(sources: Mapping[str, str]) -> list[str]:
    """Every import that goes against the plan, as a sentence."""
    allowed, found = _allowed(), []
    for name, source in sources.items():
        part = part_of(name)
        if part and part not in allowed:
            found.append(f"{name}: {part} has no place in the plan; give it one in {Path(__file__).name}")
            continue
        for module, line, _ in imports(source):
            seen, foreign = part_of(module), module.partition(".")[0]
            where = f"{name}, line {line}: imports {module}"
            if foreign in ("", *MOVED):
                found.append(f"{where}: say it in full, from mmfeat on")
            elif foreign == "mmfeat":
                if not part and seen:
                    found.append(f"{where}: mmfeat itself is lazy")
                elif part and seen in allowed and seen not in allowed[part]:
                    found.append(f"{where}: {part} may not see {seen}")
            elif foreign in FORBIDDEN:
                found.append(f"{where}: nothing that is read may be executed")
            elif foreign in FOREIGN and part not in FOREIGN[foreign]:
                found.append(f"{where}: only {', '.join(sorted(FOREIGN[foreign]))} may")
            elif part == "indexes" and foreign in ("jax", "flax", "optax"):
                found.append(f"{where}: indexes never see JAX")
    return found


def cycles(sources: Mapping[str, str]) -> list[str]:
    """Rings of modules that import one another as they are imported, one sentence each."""
    seen = {name: {each for each, _, outside in imports(source) if outside} for name, source in sources.items()}
    graph = {
        name: {_nearest(each, seen) for each in new} & seen.keys() - {name, "mmfeat"} for name, new in seen.items()
    }
    done: set[str] = set()
    found: list[str] = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            found.append(" -> ".join((*path[path.index(name) :], name)))
        elif name not in done:
            for each in sorted(graph[name]):
                visit(each, (*path, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())
    return found


def _nearest(module: str, graph: Mapping[str, object]) -> str:
    """The module that an import means: `mmfeat.learners.KMeans` means `mmfeat.learners`."""
    while module not in graph and "." in module:
        module = module.rpartition(".")[0]
    return module
