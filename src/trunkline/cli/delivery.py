"""Alerts on their way to customers: `delivery status`, `list`, `dead`, `retry`, `choices …`, `templates check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trunkline.api.people import mask_address, number_word
from trunkline.bootstrap.alert_ways import load_templates
from trunkline.bootstrap.views import masked, moment
from trunkline.charging.delivery import CHANNELS, FAILED, STATES
from trunkline.cli.app import DATA, AsJson, Data, EngineName, Full, answer_json, app, out, table
from trunkline.cli.desk import WorksOn, at
from trunkline.kernel.dial import to_text
from trunkline.ports import Refused

delivery = typer.Typer(
    no_args_is_help=True,
    help="Alerts on their way to customers: how they fare, dead letters, choices, words.",
)
choices = typer.Typer(no_args_is_help=True, help="How customers are told: by which channel, when, of what.")
templates = typer.Typer(no_args_is_help=True, help="The words in which customers are told.")
delivery.add_typer(choices, name="choices")
delivery.add_typer(templates, name="templates")
app.add_typer(delivery, name="delivery")

Number = Annotated[str, typer.Argument(help="The subscriber's number in international form.")]
Channel = Annotated[str, typer.Argument(help="webhook, email or sms.")]
Limit = Annotated[int, typer.Option(help="How many at most, newest first.")]


@delivery.command("status")
def status(data: Data = DATA, engine: WorksOn = EngineName.EMBEDDED, as_json: AsJson = False) -> None:
    """How many alerts are in which state, by channel; their sum is what was planned."""
    with at(data, engine) as desk:
        told = desk.deliveries().status()
    if as_json:
        answer_json(told)
        return
    rows = [
        {"channel": channel, **{state: counts.get(state, 0) for state in STATES}}
        for channel, counts in sorted(told["states"].items())
    ]
    table(
        rows,
        {"channel": "channel", **{state: state.replace("_", " ") for state in STATES}},
        "No alert was taken up yet.",
    )
    out.print(
        f"\n{told['alerts']:,} alerts taken up, {told['behind']:,} not yet; {told['planned']:,} deliveries planned,"
        f" {told['let_go']:,} let go; channels: {', '.join(told['channels']) or 'none'}",
        highlight=False,
    )


@delivery.command("list")
def list_deliveries(
    data: Data = DATA,
    state: Annotated[str | None, typer.Option(help=f"Only of this state: {', '.join(STATES)}.")] = None,
    limit: Limit = 20,
    engine: WorksOn = EngineName.EMBEDDED,
    full: Full = False,
    as_json: AsJson = False,
) -> None:
    """Deliveries, newest first."""
    if state is not None and state not in STATES:
        raise Refused(f"{state} is no state. Known are: {', '.join(STATES)}.")
    show = to_text if full else masked
    with at(data, engine) as desk:
        if full:
            desk.wrote("read_deliveries")
        found = desk.deliveries().deliveries(state, limit)
    rows = [
        {
            **row,
            "subscriber": show(row["subscriber"]),
            "due": moment(row["due_us"]),
            "changed": moment(row["changed_us"]),
        }
        for row in found
    ]
    if as_json:
        answer_json(rows)
        return
    names = ("number", "changed", "subscriber", "kind", "channel", "state", "attempts", "due", "reason")
    table(rows, {name: name for name in names}, "There is none.")


@delivery.command("dead")
def dead(
    data: Data = DATA,
    limit: Limit = 20,
    engine: WorksOn = EngineName.EMBEDDED,
    full: Full = False,
    as_json: AsJson = False,
) -> None:
    """Dead letters: alerts that were given up, and why; `retry` offers them again."""
    list_deliveries(data, FAILED, limit, engine, full, as_json)


@delivery.command("retry")
def retry(
    numbers: Annotated[
        list[int] | None, typer.Argument(help="Which dead letters, by number; left out: all of them.")
    ] = None,
    data: Data = DATA,
    engine: WorksOn = EngineName.EMBEDDED,
    as_json: AsJson = False,
) -> None:
    """Offer dead letters again, under the names that they had: receivers drop what they have already."""
    with at(data, engine) as desk:
        again = desk.deliveries().retry(numbers or None)
        desk.wrote("retry_deliveries", "all" if not numbers else str(len(numbers)))
    if as_json:
        answer_json({"again": again})
    else:
        out.print(f"{again:,} wait again; the running platform delivers them.", highlight=False)


@choices.command("set")
def choose(
    number: Number,
    channel: Channel,
    address: Annotated[
        str, typer.Option(help="Mailbox or webhook; of sms another number than the customer's own.")
    ] = "",
    language: Annotated[str, typer.Option(help="Such as en or de. Left out: the operator's.")] = "",
    time_zone: Annotated[str, typer.Option(help="Such as Europe/Berlin. Left out: the account's.")] = "",
    quiet_hours: Annotated[
        str, typer.Option(help="Such as 22:00-07:00, or none. Left out: the operator's.")
    ] = "",
    opted_out: Annotated[
        str, typer.Option(help="Kinds that are not told, separated by blanks; or all.")
    ] = "",
    data: Data = DATA,
    engine: WorksOn = EngineName.EMBEDDED,
) -> None:
    """Keep how a customer is told by one channel, instead of what was chosen before."""
    said = {
        "channel": channel, "address": address, "language": language, "time_zone": time_zone,
        "quiet_hours": quiet_hours, "opted_out": opted_out,
    }  # fmt: skip
    word = _word(number)
    with at(data, engine) as desk:
        desk.deliveries().choose(word, said)
        desk.wrote("choose_delivery", channel, word)
    out.print(f"{masked(word)} is told by {channel}.", highlight=False)


@choices.command("show")
def show_choices(
    number: Number,
    data: Data = DATA,
    engine: WorksOn = EngineName.EMBEDDED,
    full: Full = False,
    as_json: AsJson = False,
) -> None:
    """How a customer is told; addresses are masked unless `--full` is asked for."""
    word = _word(number)
    with at(data, engine) as desk:
        rows = desk.deliveries().choices(word)
        desk.wrote("read_choices", "", word)
    if not full:
        rows = [{**row, "address": mask_address(row["address"])} for row in rows]
    if as_json:
        answer_json(rows)
        return
    names = ("channel", "address", "language", "time_zone", "quiet_hours", "opted_out")
    table(
        rows,
        {name: name.replace("_", " ") for name in names},
        "This customer chose nothing and is told by the usual channels.",
    )


@choices.command("load")
def load(
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV with subscriber, channel, address, language, time_zone, quiet_hours, opted_out."
        ),
    ],
    data: Data = DATA,
    engine: WorksOn = EngineName.EMBEDDED,
    as_json: AsJson = False,
) -> None:
    """Keep the choices of a file: all of them, or none when it has mistakes, which are told with their lines."""
    if not file.is_file():
        raise Refused(f"{file} is not a file. Name the CSV file of choices.")
    with at(data, engine) as desk:
        words = desk.deliveries().load(file.name, file.read_bytes())
        for word in words:
            desk.wrote("choose_delivery", "by file", word)
    if as_json:
        answer_json({"choices": len(words)})
    else:
        out.print(f"{len(words):,} choices are kept.", highlight=False)


@choices.command("forget")
def forget(
    number: Number,
    channel: Annotated[
        str | None, typer.Argument(help="webhook, email or sms; left out: all of them.")
    ] = None,
    data: Data = DATA,
    engine: WorksOn = EngineName.EMBEDDED,
) -> None:
    """Forget how a customer wished to be told, with the address."""
    if channel is not None and channel not in CHANNELS:
        raise Refused(f"{channel} is no channel. Known are: {', '.join(CHANNELS)}.")
    word = _word(number)
    with at(data, engine) as desk:
        gone = desk.deliveries().forget(word, channel)
        desk.wrote("forget_delivery", channel or "all", word)
    out.print(f"{gone} choices are forgotten.", highlight=False)


@templates.command("check")
def check(
    folder: Annotated[Path, typer.Argument(help="Folder with en.yaml, de.yaml and so on.")],
    as_json: AsJson = False,
) -> None:
    """Whether words of your own can be used; every mistake is told with its file and line."""
    found = load_templates(folder)
    if as_json:
        answer_json({name: sorted(language.kinds) for name, language in found.items()})
    else:
        out.print(f"The words can be used. There are some in {', '.join(found)}.", highlight=False)


# -- how ---------------------------------------------------------------------------------------------------


def _word(number: str) -> int:
    word = number_word(number)
    if word is None:
        raise Refused(f"{number} is not a number in international form, such as 447700900001.")
    return word
