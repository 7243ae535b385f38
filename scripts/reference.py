"""Writes docs/reference from the code, so that a command, setting, metric, reason or column is described once.

The sentences live where the thing lives (a command's help, a setting's `doc`, a column's `text`); a page here
only lays them out. `make docs` writes the pages; tests/test_docs.py fails while they differ from the code.
"""

import dataclasses
import importlib
import json
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
HEAD = "<!-- Written by `make docs` from {source}; change it there. -->\n\n"


def pages() -> dict[str, str]:
    """Each page's file name and text."""
    makers: dict[str, tuple[str, Callable[[], str]]] = {
        "cli.md": ("the help of trunkline's commands", cli_page),
        "settings.md": ("src/trunkline/settings.py", settings_page),
        "metrics.md": ("src/trunkline/api/metrics.py", metrics_page),
        "reasons.md": ("src/trunkline/records", reasons_page),
        "records.md": ("src/trunkline/records", records_page),
        "flows.md": ("src/trunkline/topology.py", flows_page),
        "kpis.md": ("src/trunkline/network", kpis_page),
        "api.md": ("src/trunkline/api", api_page),
    }
    written = {
        name: HEAD.format(source=source) + make().rstrip() + "\n" for name, (source, make) in makers.items()
    }
    return written | {"openapi.json": json.dumps(openapi(), indent=2, ensure_ascii=False) + "\n"}


# -- commands ---


def cli_page() -> str:
    """Every command with its arguments and options."""
    lines = ["# Commands", "", "`trunkline --help` tells the same.", ""]
    for name, command in commands():
        lines += [f"## {name}", "", *_paragraphs(command.help or ""), ""]
        rows = [(_usage(parameter), _cell(_meaning(parameter))) for parameter in visible(command)]
        lines += _table(("argument or option", "meaning"), rows)
    codes = importlib.import_module("trunkline.cli").EXIT_CODES
    lines += ["## Exit codes", "", *_table(("code", "meaning"), [(f"`{c}`", _cell(codes[c])) for c in codes])]
    return "\n".join(lines)


def commands() -> list[tuple[str, Any]]:
    """Every visible command with its full name, in the order of the help; groups stand before their commands."""
    typer_main = importlib.import_module("typer.main")
    app = importlib.import_module("trunkline.cli").app
    return list(_walk("trunkline", typer_main.get_command(app)))


def _walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield name, command
    for child_name, child in getattr(command, "commands", {}).items():
        if not child.hidden:
            yield from _walk(f"{name} {child_name}", child)


def visible(command: Any) -> list[Any]:
    """The arguments and options of a command that its help shows, without the ones every command has."""
    everywhere = {"--help", "--install-completion", "--show-completion"}
    return [
        parameter
        for parameter in command.params
        if not getattr(parameter, "hidden", False) and not everywhere & set(parameter.opts)
    ]


def _usage(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name = (parameter.metavar or parameter.name).upper()
        return f"`{name}{'…' if parameter.nargs == -1 else ''}`"
    spellings = ", ".join(f"`{spelling}`" for spelling in (*parameter.opts, *parameter.secondary_opts))
    if parameter.is_flag or parameter.count:
        return spellings
    return f"{spellings} {parameter.metavar or _kind(parameter)}"


def _kind(parameter: Any) -> str:
    """What an option takes, in capitals: the choices, or the name of its type."""
    annotation: Any = parameter.type_descriptor.annotation
    kind: Any = next((inner for inner in get_args(annotation) if isinstance(inner, type)), annotation)
    if issubclass(kind, Enum):
        return "\\|".join(str(choice.value) for choice in kind)
    names: dict[Any, str] = {str: "TEXT", int: "NUMBER", float: "NUMBER", Path: "PATH"}
    return names.get(kind) or str(kind.__name__).upper()


def _meaning(parameter: Any) -> str:
    text = parameter.help or ""
    default = getattr(parameter, "show_default", True) and parameter.default
    if parameter.required and parameter.param_type_name == "option":
        return f"{text} Required."
    if isinstance(default, (str, int, float, Path)) and default not in ("", False, True):
        return f"{text} Default: `{default}`."
    return text


# -- settings, metrics, reasons, records, flows ---


def settings_page() -> str:
    """Every setting of every part, with its default and its reason."""
    prefix = importlib.import_module("trunkline.settings").PREFIX
    lines = [
        "# Settings",
        "",
        f"Each can be set in the environment as `{prefix}` and its name in capitals; an option of the command line",
        "overrides that.",
        "",
    ]
    for part in setting_parts():
        lines += [f"## {part.__name__}", "", *_paragraphs(part.__doc__ or ""), ""]
        rows = [
            (f"`{field.name}`", f"`{field.type}`", _default(field), _cell(field.metadata.get("doc", "")))
            for field in dataclasses.fields(part)
        ]
        lines += _table(("setting", "type", "default", "meaning"), rows)
    return "\n".join(lines)


def setting_parts() -> list[Any]:
    """The dataclasses of trunkline.settings, in the order of the file."""
    settings = importlib.import_module("trunkline.settings")
    return [
        thing
        for thing in vars(settings).values()
        if isinstance(thing, type)
        and dataclasses.is_dataclass(thing)
        and thing.__module__ == settings.__name__
    ]


def metrics_page() -> str:
    """Every metric that /metrics shows."""
    metrics = importlib.import_module("trunkline.api.metrics").METRICS
    lines = ["# Metrics", "", "What `/metrics` shows, in Prometheus' text format.", ""]
    rows = [
        (f"`{m.name}`", m.type.value, ", ".join(f"`{label}`" for label in m.labels), _cell(m.text))
        for m in metrics
    ]
    return "\n".join(lines + _table(("metric", "type", "labels", "meaning"), rows))


def reasons_page() -> str:
    """Every reason a record is set aside for, in the order in which they win."""
    lines = [
        "# Reasons",
        "",
        "Why a record was set aside. The lists are closed and ordered: a record with several faults gets the",
        "reason that stands first.",
        "",
    ]
    for module in record_modules():
        if reasons := getattr(module, "REASONS", ()):
            lines += [f"## {module.__name__.rpartition('.')[2]}", ""]
            lines += _table(("reason", "meaning"), [(f"`{r.name}`", _cell(r.text)) for r in reasons])
    return "\n".join(lines)


def records_page() -> str:
    """Every stream and table with its columns, and what the steps remember."""
    flow = importlib.import_module("trunkline.kernel.flow")
    lines = [
        "# Records",
        "",
        "What travels between the steps. *Personal* marks the columns that tell who somebody is: they are masked",
        "unless the role may see them, and an erasure finds them by this list.",
        "",
    ]
    streams = {
        thing.name: thing
        for module in record_modules()
        for thing in vars(module).values()
        if isinstance(thing, flow.Stream)
    }
    for stream in streams.values():
        lines += _stream(stream)
    return "\n".join(lines)


def _stream(stream: Any) -> list[str]:
    record = stream.record
    kept = f"Key: {', '.join(f'`{column}`' for column in record.key)}. Kept {record.days_kept} days."
    rows = [
        (f"`{c.name}`", f"`{c.dtype}`", c.unit, "personal" if c.personal else "", _cell(c.text))
        for c in record.columns
    ]
    table = _table(("column", "type", "unit", "", "meaning"), rows)
    return [f"## {stream.name}", "", stream.text, "", record.text, kept, "", *table]


def record_modules() -> list[ModuleType]:
    """The modules of trunkline.records, by name."""
    package = importlib.import_module("trunkline.records")
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    return [importlib.import_module(f"trunkline.records.{name}") for name in names]


def flows_page() -> str:
    """Every flow of the map: its steps, what each reads, writes, remembers and looks up."""
    lines = [
        "# Flows",
        "",
        "The map of the platform: every way that data takes, step by step. Streams are described under",
        "[records](records.md).",
        "",
    ]
    for flow in importlib.import_module("trunkline.topology").FLOWS:
        lines += [f"## {flow.name}", "", flow.text, "", *_picture(flow)]
        rows = [(f"`{step.name}`", *_ends(step)) for step in flow.steps]
        lines += _table(("step", "reads", "writes", "remembers", "looks up"), rows)
    return "\n".join(lines)


def _ends(step: Any) -> tuple[str, str, str, str]:
    def names(things: Iterable[Any]) -> str:
        return ", ".join(f"`{thing.name}`" for thing in things)

    remembered = (step.state,) if step.state else ()
    return names((step.reads,)), names(step.writes), names(remembered), names(step.looks_up)


def _picture(flow: Any) -> list[str]:
    """The flow as a Mermaid graph: streams as boxes, steps as rounded ones."""
    arrows = []
    for step in flow.steps:
        arrows.append(f"    {_node(step.reads.name)} --> {step.name}({step.name})")
        arrows += [f"    {step.name} --> {_node(stream.name)}" for stream in step.writes]
    return ["```mermaid", "flowchart LR", *arrows, "```", ""]


def _node(stream: str) -> str:
    return f"{stream.replace('.', '_')}[{stream}]"


# -- the HTTP API ---


# -- the network's KPIs ---


def kpis_page() -> str:
    """Counters and KPIs as they are shipped, and the rules by which they come about."""
    formula = importlib.import_module("trunkline.network.formula")
    listing = importlib.import_module("trunkline.network.listing")
    shipped = Path(str(formula.__file__)).parent / "formulas" / f"{formula.SHIPPED}.yaml"
    formulas = formula.parse_formulas(shipped.read_text(encoding="utf-8"), shipped.name)
    lines = ["# KPIs", ""]
    for title, module in (
        ("Formulas", "formula"), ("From measurements to bins", "align"), ("From bins to KPIs", "kpi"),
        ("Areas, technologies, slices, the network", "rollup"), ("The map", "heat"), ("Agreements", "sla"),
    ):  # fmt: skip
        text = importlib.import_module(f"trunkline.network.{module}").__doc__ or ""
        lines += [f"## {title}", "", *_paragraphs(text), ""]
    lines += ["## KPIs that come with trunkline", ""]
    kpis = [_kpi_row(formulas, kpi) for kpi in formulas.kpis]
    lines += _table(("KPI", "unit", "formula", "warning, minor, major, critical", "source", "meaning"), kpis)
    lines += ["## Counters that come with trunkline", ""]
    counters = [(f"`{c.name}`", _cell(c.unit), str(c.bits or ""), _cell(c.source)) for c in formulas.counters]
    lines += _table(("counter", "unit", "bits", "source"), counters)
    lines += ["## The inventory", "", *_paragraphs(listing.__doc__ or ""), ""]
    lists = [
        (f"`{name}`", ", ".join(f"`{c}`" for c in (key, *must)), ", ".join(f"`{c}`" for c in may))
        for name, (key, must, may) in listing.KINDS.items()
    ]
    return "\n".join(lines + _table(("list (`.csv` or `.geojson`)", "columns", "more, where known"), lists))


def _kpi_row(formulas: Any, kpi: Any) -> tuple[str, str, str, str, str, str]:
    """One KPI, its formula in words, and what is good."""
    names = {counter.number: counter.name for counter in formulas.counters}

    def total(terms: Any) -> str:
        signed = [
            ("- " if sign < 0 else "+ ") + f"`{names.get(number, 'seconds')}`" for number, sign in terms
        ]
        return " ".join(signed).removeprefix("+ ")

    forms = {
        "RATIO": f"({total(kpi.numerator)}) / ({total(kpi.denominator)})",
        "MEAN": f"mean of {total(kpi.numerator)}",
        "SUM": f"sum of {total(kpi.numerator)}",
        "PRODUCT": " x ".join(f"`{name}`" for name in kpi.factors),
    }
    times = f" x {kpi.times}" if kpi.times != 1 else ""
    than = {"high": "below ", "low": "above "}.get(kpi.good, "")
    marks = ", ".join(f"{value / 1_000:g}" for value in kpi.marks.values())
    return (
        f"`{kpi.name}`", _cell(kpi.unit), forms[kpi.form.name] + times, than + marks if marks else "",
        _cell(kpi.source), _cell(kpi.text),
    )  # fmt: skip


def api_page() -> str:
    """Every route with the role it asks for; the whole of it is in openapi.json."""
    lines = [
        "# HTTP API",
        "",
        "Each route and the lowest role that may call it: viewer < care < billing < admin. Bodies, parameters and",
        "answers are described in [openapi.json](openapi.json) (OpenAPI 3), for API catalogues and code generators.",
        "",
    ]
    rows = [
        (f"`{method.upper()} {path}`", operation.get("x-role", ""), _cell(operation.get("summary", "")))
        for path, operations in openapi()["paths"].items()
        for method, operation in operations.items()
    ]
    return "\n".join(lines + _table(("route", "role", "what it does"), rows))


def openapi() -> dict[str, Any]:
    """The OpenAPI description that a running platform serves."""
    app = importlib.import_module("trunkline.api.app")
    document: dict[str, Any] = importlib.import_module("trunkline.api.describe").document(
        app.ROUTERS, app.PUBLIC
    )
    return document


# -- layout ---


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    body = [f"| {' | '.join(row)} |" for row in rows]
    if not body:
        return []
    return [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}", *body, ""]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _paragraphs(text: str) -> list[str]:
    """The text as Markdown: typer's end-of-paragraph marks gone, indentation gone."""
    return [line.strip() for line in text.replace("\f", "").strip().splitlines()]


def _default(field: Any) -> str:
    if field.default is not dataclasses.MISSING:
        return f"`{field.default}`" if field.default not in ("", None) else "none"
    if field.default_factory is not dataclasses.MISSING:
        return f"`{field.default_factory()}`"
    return "required"


def main() -> None:
    """Write every page and say which ones changed."""
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        page = REFERENCE / name
        if not page.exists() or page.read_text() != text:
            page.write_text(text)
            sys.stdout.write(f"written: docs/reference/{name}\n")


if __name__ == "__main__":
    main()
