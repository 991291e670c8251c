"""The command line: parse, call one function, print.

Heavy modules are imported inside the commands, so that help is quick.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from smallset.errors import ConfigError, RunError, SmallsetError

app = typer.Typer(
    help="Train, compare, show, clean and use image classifiers with tens of images per class.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
weights_app = typer.Typer(help="Pretrained weights: list, import, verify.", no_args_is_help=True)
app.add_typer(weights_app, name="weights")

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="Folder, .csv or .jsonl manifest, torchvision:NAME, or sample:shapes.",
    ),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any setting, such as optim.momentum=0.9."),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="A TOML file of settings.")
]
Lang = Annotated[
    str | None, typer.Option("--lang", help="Of figures and page: en or zh; default: the locale's.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print the result only.")]
SkipUnreadable = Annotated[
    bool, typer.Option("--skip-unreadable", help="Leave unreadable files out, and count them.")
]


def main() -> None:
    """Run the command line; errors a user can fix end it with one message and status 2."""
    try:
        app()
    except SmallsetError as error:
        print(f"smallset: {error}", file=sys.stderr)
        sys.exit(2)


@app.command()
def train(
    data: Data,
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder that the record goes into.")],
    model: Annotated[str | None, typer.Option(help="Name; see `smallset models`.")] = None,
    loss: Annotated[str | None, typer.Option(help="Such as cross-entropy, triplet-cosine.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the images per stage.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per batch.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side of the images, px.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    weights: Annotated[str | None, typer.Option(help="auto, none, or a weight file.")] = None,
    classes: Annotated[str | None, typer.Option(help='Such as "1-5" or "cat,dog".')] = None,
    train_on: Annotated[str | None, typer.Option(help="Such as train+val+extra.")] = None,
    noise: Annotated[float | None, typer.Option(help="Share of wrong training labels.")] = None,
    noise_seed: Annotated[int | None, typer.Option(help="Chooses the wrong labels.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    config: ConfigFile = None,
    sets: Sets = None,
    skip_unreadable: SkipUnreadable = False,
    lang: Lang = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a stopped run.")] = False,
    quiet: Quiet = False,
) -> None:
    """Train one classifier, and leave a record with figures and a page."""
    flags = {
        "model": model, "loss": loss, "epochs": epochs, "lr": lr, "batches.size": batch_size,
        "image_size": image_size, "seed": seed, "weights": weights, "data.classes": classes,
        "data.train_on": train_on, "data.noise_rate": noise, "data.noise_seed": noise_seed,
        "compute.device": device, "data.skip_unreadable": skip_unreadable or None,
        "figures.lang": lang,
    }  # fmt: skip
    settings = _settings(config, sets, flags)
    _train(data, settings, out, resume=resume, quiet=quiet)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder of the record.")] = Path(
        "runs/demo"
    ),
    quiet: Quiet = False,
) -> None:
    """Train on generated pictures, offline, in two minutes, and name the figures it made."""
    from smallset.config import RunConfig, override

    settings = {
        "image_size": 64, "epochs": 8, "optim.momentum": 0.9, "schedule.name": "cosine",
        "lr": 0.02, "augment.flip": True,
    }  # fmt: skip
    _train("sample:shapes", override(RunConfig(), settings), _free(out), resume=False, quiet=quiet)


@app.command()
def check(
    data: Data,
    write_split: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="Write the split down as a manifest."),
    ] = None,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Find pictures that are nearly the same too: resized, cut."),
    ] = False,
    config: ConfigFile = None,
    sets: Sets = None,
    quiet: Quiet = False,
) -> None:
    """Print splits, classes and every problem found; exit status 1 if there is a problem."""
    from smallset import api
    from smallset.data.manifest import manifest_text
    from smallset.files import write_atomic
    from smallset.show.terminal import data_table

    console = _console()
    images, problems = api.check(
        data, _settings(config, sets, {}), deep=deep, reporter=_reporter(quiet)
    )
    console.print(data_table(images, f"{data}: {len(images)} images"))
    for note in images.notes:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    for problem in problems:
        text = f"{problem.kind}: {problem.message}"
        console.print(text, style="red", markup=False, highlight=False, soft_wrap=True)
    if write_split is not None:
        write_atomic(write_split, manifest_text(images, write_split))
        console.print(f"split written to {write_split}", markup=False, highlight=False)
    found = f"{len(problems)} problem(s) found" if problems else "no problems found"
    console.print(found, highlight=False)
    raise typer.Exit(1 if problems else 0)


@app.command()
def study(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME|FILE", help="See --list; or a TOML file.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="As for train."),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="STUDY", help="Folder of the study.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Runs per arm.")] = None,
    arms: Annotated[str | None, typer.Option(help="Only these, joined by commas.")] = None,
    sets: Sets = None,
    execute: Annotated[str, typer.Option(help="serial, processes or ray.")] = "processes",
    workers: Annotated[int | None, typer.Option(min=1, help="Runs at a time.")] = None,
    address: Annotated[str | None, typer.Option(help="Of the Ray cluster.")] = None,
    without_missing: Annotated[
        bool, typer.Option("--without-missing", help="Leave out arms whose weights are missing.")
    ] = False,
    all_pairs: Annotated[
        bool, typer.Option("--all-pairs", help="Compare every arm with every other.")
    ] = False,
    show_list: Annotated[bool, typer.Option("--list", help="List the built-in studies.")] = False,
    lang: Lang = None,
    quiet: Quiet = False,
) -> None:
    """Train arms x seeds, compare them pair by pair, and say what can be told; status 1 if a run
    failed.

    The same command goes on where a stopped study was.
    """
    if show_list:
        from smallset.compare.spec import built_in_studies
        from smallset.show.terminal import studies_table

        _console().print(studies_table(built_in_studies()))
        return
    from smallset import api

    if name is None or data is None:
        raise ConfigError("a study needs a name and --data DATA; smallset study --list lists them")
    if execute == "serial":
        _keep_memory()
    folder = out or Path("runs") / Path(name).stem
    try:
        summary = api.study(
            name,
            data,
            out=folder,
            seeds=seeds,
            arms=[arm.strip() for arm in arms.split(",")] if arms else (),
            settings=_assignments(sets) | ({"figures.lang": lang} if lang else {}),
            execute=execute,
            workers=workers,
            address=address,
            without_missing=without_missing,
            all_pairs=all_pairs,
            reporter=_reporter(quiet),
        )
    except KeyboardInterrupt:
        raise RunError("stopped; the same command goes on after the last finished epochs") from None
    _print_summary(summary)
    raise typer.Exit(1 if summary.failed else 0)


@app.command()
def report(
    folder: Annotated[
        Path,
        typer.Argument(metavar="RUN|STUDY|CLEAN", help="Folder of a run, a study or a cleaning."),
    ],
    data: Annotated[
        str | None, typer.Option(metavar="DATA", help="Where the images are, if they have moved.")
    ] = None,
    lang: Lang = None,
    budget: Annotated[
        float, typer.Option(metavar="MB", min=6, help="Largest size of a page.")
    ] = 15,
    without_images: Annotated[
        bool, typer.Option("--without-images", help="Leave the images out.")
    ] = False,
    grad_cam: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Explain this image too, as predictions.csv names it."),
    ] = None,
    runs: Annotated[
        bool, typer.Option("--runs", help="Of a study: the pages of its runs too.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Write report.html: one page with everything inside, of a run, a study or a cleaning."""
    from smallset import api

    if lang not in (None, "en", "zh"):
        raise ConfigError(f"--lang is en or zh, got {lang!r}")
    written = api.report(
        folder,
        data=data,
        lang=lang or "auto",
        budget_mb=budget,
        without_images=without_images,
        grad_cam=grad_cam or (),
        runs=runs,
        reporter=_reporter(quiet),
    )
    for path in written:
        print(f"page:     {path}    ({path.stat().st_size / 1e6:.1f} MB)")


@app.command()
def clean(
    data: Data,
    out: Annotated[Path, typer.Option(metavar="CLEAN", help="Folder that the labels go into.")],
    nets: Annotated[
        str,
        typer.Option(
            "--with",
            metavar="NET[=FILE],...|self",
            help="Pretrained networks that judge; or self, which needs none.",
        ),
    ] = "resnet18",
    splits: Annotated[
        str | None,
        typer.Option(
            help="Whose labels are judged, such as train+val.", show_default="all but test"
        ),
    ] = None,
    noise: Annotated[float | None, typer.Option(help="Wrong labels to add, to try it out.")] = None,
    noise_seed: Annotated[int | None, typer.Option(help="Chooses them.")] = None,
    config: ConfigFile = None,
    sets: Sets = None,
    skip_unreadable: SkipUnreadable = False,
    lang: Lang = None,
    quiet: Quiet = False,
) -> None:
    """Find wrong labels; your files stay as they are. Status 1 if there are suspects.

    CLEAN is data that train and study take.
    """
    from smallset import api
    from smallset.clean.folder import tell
    from smallset.files import read_json

    flags = {
        "data.noise_rate": noise, "data.noise_seed": noise_seed,
        "data.skip_unreadable": skip_unreadable or None, "figures.lang": lang,
    }  # fmt: skip
    settings = _settings(config, sets, flags)
    api.clean(
        data,
        out=out,
        nets=nets.split(","),
        splits=splits.split("+") if splits else None,
        config=settings,
        reporter=_reporter(quiet),
    )
    about = read_json(out / "clean.json")
    print("\n".join(tell(about)))
    print(f"labels:   {out / 'labels.csv'}    (smallset train {out} --out RUN)")
    if about["suspects"]:
        print(f"review:   smallset review {out}")
    if (out / "report.html").exists():
        print(f"page:     {out / 'report.html'}")
    raise typer.Exit(1 if about["suspects"] else 0)


@app.command()
def review(
    folder: Annotated[Path, typer.Argument(metavar="CLEAN", help="What `smallset clean` left.")],
    data: Annotated[
        str | None, typer.Option(metavar="DATA", help="Where the images are, if they have moved.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of 127.0.0.1; 0: a free one.")] = 0,
    by: Annotated[
        str | None, typer.Option(help="Whose decisions; default: your user name.")
    ] = None,
    lang: Lang = None,
    browser: Annotated[bool, typer.Option(help="Open the page.")] = True,
) -> None:
    """Go through the suspects by keyboard, in the browser; each decision is on disk at once."""
    from smallset import api

    api.review(
        folder,
        data=data,
        port=port,
        by=by,
        lang=lang or "auto",
        open_browser=browser,
        on_line=lambda text: print(text, flush=True),
    )


@app.command()
def tune(
    data: Data,
    out: Annotated[Path, typer.Option(metavar="TUNE", help="Folder of the search.")],
    model: Annotated[str | None, typer.Option(help="Name; see `smallset models`.")] = None,
    search: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=SPACE",
            help="Such as lr=1e-3:0.3:log or batches.size=16,32; default: rate x weight decay.",
        ),
    ] = None,
    trials: Annotated[int, typer.Option(min=2, help="How many.")] = 30,
    seeds: Annotated[int, typer.Option(min=1, help="Runs per trial.")] = 2,
    config: ConfigFile = None,
    sets: Sets = None,
    compare: Annotated[
        bool, typer.Option(help="At the end, compare the winner with the start, 5 seeds each.")
    ] = True,
    quiet: Quiet = False,
) -> None:
    """Search settings on val, write the winner, and compare it with the start on test.

    The same command goes on where a stopped search was.
    """
    from smallset import api

    _keep_memory()
    settings, reporter = _settings(config, sets, {"model": model}), _reporter(quiet)
    try:
        tuned = api.tune(
            data,
            settings,
            out=out,
            search=_assignments(search, "--search"),
            trials=trials,
            seeds=seeds,
            reporter=reporter,
        )
        values = ", ".join(f"{name} = {value}" for name, value in tuned.best.settings.items())
        print(f"best on val: {tuned.best.val_accuracy:.1%} with {values}")
        print(f"settings: {out / 'best.toml'}    (smallset train DATA --config ... --out RUN)")
        for figure in sorted((out / "figures").glob("*.png")):
            print(f"figure:   {figure}")
        if not compare:
            print(f"study:    {out / 'compare.toml'}    (smallset study ... --data DATA)")
            return
        file = str(out / "compare.toml")
        summary = api.study(file, data, out=out / "compare", reporter=reporter)
    except KeyboardInterrupt:
        raise RunError("stopped; the same command goes on after the last finished trial") from None
    _print_summary(summary)


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(help="Model whose layers to print.")] = None,
    num_classes: Annotated[int, typer.Option(min=2, help="Number of classes.")] = 35,
    image_size: Annotated[int | None, typer.Option(min=32, help="Side of the image, px.")] = None,
) -> None:
    """List the models, or print each layer of one with output shape and parameter count."""
    from smallset.models.layers import layer_table
    from smallset.models.pretrained import torchvision_names
    from smallset.models.registry import MODELS, default_image_size, outline
    from smallset.show.terminal import layers_table

    console = _console()
    if name is None:
        console.print("from scratch:", ", ".join(MODELS), highlight=False)
        console.print("torchvision:", ", ".join(torchvision_names()), highlight=False)
        console.print("timm (extra): timm:NAME", highlight=False)
        return
    size = image_size or default_image_size(name)
    model = outline(name, num_classes, size)
    total, head = (sum(p.numel() for p in part.parameters()) for part in (model, model.classifier))
    layers, title = layer_table(model, size), f"{name} at {size} px"
    console.print(layers_table(layers, title=title, classes=num_classes, total=total, head=head))


@weights_app.command("list")
def weights_list() -> None:
    """List the imported weights, and those torchvision has downloaded before."""
    import torch

    from smallset.models.weights import store_dir

    downloads = Path(torch.hub.get_dir()) / "checkpoints"
    for title, folder in (("imported", store_dir()), ("torchvision's downloads", downloads)):
        files = sorted(p for p in folder.glob("*") if p.suffix in (".pth", ".pt", ".safetensors"))
        print(f"{title} ({folder}):")
        for file in files:
            print(f"  {file.name}  {file.stat().st_size / 1e6:.1f} MB")
        if not files:
            print("  none")


@weights_app.command("import")
def weights_import(
    file: Annotated[Path, typer.Argument(help="A .pth or .safetensors file.")],
    model: Annotated[str, typer.Option(help="The model it belongs to.")],
) -> None:
    """Check a weight file against a model, and keep a copy that runs will find."""
    from smallset.models.registry import check_weights
    from smallset.models.weights import import_weights

    check_weights(model, str(file))
    print(f"{model} will use {import_weights(file, model)}")


@weights_app.command("verify")
def weights_verify(
    file: Annotated[Path, typer.Argument(help="A .pth or .safetensors file.")],
    model: Annotated[str | None, typer.Option(help="The model it should fit.")] = None,
) -> None:
    """Check a weight file: its sha256 against its name, its tensors against a model."""
    from smallset.models.registry import check_weights
    from smallset.models.weights import read_weights

    read = read_weights(file)
    print(f"sha256 {read.sha256}, {len(read.tensors)} tensors")
    if model is not None:
        check_weights(model, str(file))
        print(f"fits {model}")


def _print_summary(summary: Any) -> None:
    from smallset.show.terminal import arms_table, comparisons_table

    console = _console()
    console.print(arms_table(summary))
    if summary.comparisons:
        console.print(comparisons_table(summary))
    for note in summary.notes():
        console.print(f"note: {note}", style="yellow", markup=False, highlight=False)
    for file in ("summary.csv", "comparisons.csv"):
        print(f"table:    {summary.folder / file}")
    for figure in sorted((summary.folder / "figures").glob("*.png")):
        print(f"figure:   {figure}")
    _print_page(summary.folder)


def _keep_memory() -> None:
    from smallset.compute import keep_memory

    keep_memory()


def _train(data: str, settings: Any, out: Path, *, resume: bool, quiet: bool) -> None:
    from smallset import api
    from smallset.words import language

    _keep_memory()
    findings: list[Any] = []
    reporter = replace(_reporter(quiet), found=findings.append)
    try:
        record = api.train(data, settings, out=out, resume=resume, reporter=reporter)
    except KeyboardInterrupt:
        raise RunError(
            "stopped; once an epoch was finished, the same command with --resume goes on after it"
        ) from None
    scores = [
        f"{split} {record.result[f'{split}_accuracy']:.1%}"
        for split in ("train", "val", "test")
        if record.result[f"{split}_accuracy"] is not None
    ]
    print(f"accuracy: {', '.join(scores)}")
    print(f"record:   {out}")
    lang = language(record.config["config"]["figures"]["lang"])
    for finding in findings:
        style = "yellow" if finding.level == "problem" else ""
        said = f"finding:  {finding.sentence.say(lang)}"
        _console().print(said, style=style, markup=False, highlight=False, soft_wrap=True)
    for figure in sorted((out / "figures").iterdir()):
        print(f"figure:   {figure}")
    _print_page(out)


def _print_page(folder: Path) -> None:
    if (folder / "report.html").exists():
        print(f"page:     {folder / 'report.html'}")


def _settings(config: Path | None, sets: list[str] | None, flags: dict[str, Any]) -> Any:
    from smallset.config import RunConfig, override, read_config

    given: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
    return override(read_config(config) if config else RunConfig(), given | _assignments(sets))


def _assignments(sets: list[str] | None, flag: str = "--set") -> dict[str, str]:
    given: dict[str, str] = {}
    for text in sets or []:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"{flag} takes KEY=VALUE, got {text!r}")
        given[key.strip()] = value.strip()
    return given


def _free(folder: Path) -> Path:
    """Return the folder, or the first of folder-2, folder-3, ... that is not there yet."""
    free, number = folder, 1
    while free.exists():
        number += 1
        free = folder.with_name(f"{folder.name}-{number}")
    return free


def _console() -> Any:
    from rich.console import Console

    return Console()


def _reporter(quiet: bool) -> Any:
    from smallset.progress import Reporter, console_reporter

    return Reporter() if quiet else console_reporter(_console())
