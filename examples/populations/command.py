"""The command: it finds missing runs, trains them in parallel, and prints the table."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Container, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

import populations
from populations import language, resnets, selfsupervised, silent, supervised, tables, twins
from populations.data import Data
from populations.regimes import UNSEEN_FROM
from populations.report import label, outcome_table
from populations.training import quiet
from repwatch import Registry

# Populations with mistakes in code, most of which no hyperparameter shows.
SILENT = {
    "text-lm": language.POPULATION,
    "mnist-resnet": resnets.POPULATION,
    "ssl-twins": twins.POPULATION,
    "tables-mlp": tables.POPULATION,
}
FILES = ("mnist", "text")
POPULATIONS = (*supervised.FAMILIES, *selfsupervised.RECIPES, *SILENT)


def train_one(population: str, seed: int, file: Path | None, registry: Path, index: int) -> None:
    """Train run `index` of a population, in a process of its own or in this one."""
    stored, name = Registry(registry), run_name(population, index)
    try:
        if population in SILENT:
            data = SILENT[population].load(file)
            silent.run(SILENT[population], name, seed, index, data, stored)
        else:
            family_of(population).train(population, name, seed, index, file, stored)
    finally:
        stored.close()


def family_of(population: str) -> ModuleType:
    return selfsupervised if population in selfsupervised.RECIPES else supervised


def load(population: str, file: Path | None) -> Data:
    """The data of a population, from the file if it needs one."""
    if population in SILENT:
        return SILENT[population].load(file)
    data: Data = family_of(population).load(population, file)
    return data


def file_of(chosen: argparse.Namespace) -> Path | None:
    """The file that the population is to be trained on, if it needs one."""
    kind = file_kind(chosen.population)
    return None if kind is None else getattr(chosen, kind)


def file_kind(population: str) -> str | None:
    """The option that names the file that a population needs; None if it needs none."""
    if population.startswith("text"):
        return "text"
    return "mnist" if "mnist" in population else None


def run_name(population: str, index: int) -> str:
    if index >= UNSEEN_FROM:
        return f"{population}-unseen-{index - UNSEEN_FROM:03d}"
    return f"{population}-{index:03d}"


def prepare() -> None:
    """Use one thread per process: the networks are too small for more."""
    torch.set_num_threads(1)
    quiet()


def main(words: list[str] | None = None) -> None:
    chosen = parse(words)
    registry = Registry(chosen.registry).create()
    indices = [*range(chosen.runs), *range(UNSEEN_FROM, UNSEEN_FROM + chosen.unseen)]
    names = {run_name(chosen.population, index): index for index in indices}
    missing = names.keys() - clear_up(registry, names)
    task = partial(train_one, chosen.population, chosen.seed, file_of(chosen), chosen.registry)
    failed = follow(chosen, task, sorted(names[name] for name in missing), len(names))
    finished = [run for run in registry.runs(status="finished") if run.name in names]
    Console().print(outcome_table(chosen.population, finished))
    if chosen.label:
        label(registry, finished)
    registry.close()
    if failed:
        raise SystemExit(
            f"{failed} of {len(names)} runs failed; the same command trains them again."
        )


def clear_up(registry: Registry, names: Container[str]) -> set[str]:
    """The names of the finished runs; those that were interrupted are deleted."""
    finished = set()
    for run in registry.runs():
        if run.status == "finished":
            finished.add(run.name)
        elif run.name in names:
            registry.delete_run(run)
    return finished


def follow(
    chosen: argparse.Namespace, task: Callable[[int], None], indices: list[int], total: int
) -> int:
    """Do the task for each index of a total, with a progress bar; returns how many failed."""
    failed = 0
    columns = (MofNCompleteColumn(), TimeRemainingColumn())
    with Progress("{task.description}", BarColumn(), *columns) as progress:
        done = total - len(indices)
        bar = progress.add_task(chosen.population, total=total, completed=done)
        for index, error in work(task, indices, chosen.workers):
            progress.advance(bar)
            if error is not None:
                failed += 1
                progress.console.print(f"{run_name(chosen.population, index)}: {error!r}")
    return failed


def work(
    task: Callable[[int], None], indices: list[int], workers: int
) -> Iterator[tuple[int, BaseException | None]]:
    """Do the task for each index, in this process if there is one worker.

    Yields:
        The index of each task that has ended, and its error, or None.
    """
    if workers == 1:
        prepare()
        for index in indices:
            yield index, attempt(task, index)
        return
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=prepare) as pool:
        futures = {pool.submit(task, index): index for index in indices}
        try:
            for future in as_completed(futures):
                yield futures[future], future.exception()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def attempt(task: Callable[[int], None], index: int) -> Exception | None:
    """Do the task; returns the error, or None."""
    try:
        task(index)
    except Exception as error:
        return error
    return None


def parse(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="populations",
        description=populations.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("population", choices=POPULATIONS, metavar="NAME", help="see above")
    parser.add_argument("--registry", type=Path, required=True, help="a file, created or resumed")
    parser.add_argument("--runs", type=int, default=150, help="how many runs (150)")
    parser.add_argument("--unseen", type=int, default=0, help="more runs, with other faults (0)")
    parser.add_argument("--label", action="store_true", help="label the runs by how they ended")
    parser.add_argument("--workers", type=int, default=2, help="parallel processes (2)")
    parser.add_argument("--mnist", type=Path, help="an .npz with images and labels")
    parser.add_argument("--text", type=Path, help="pairs of sentences in two languages, .tsv.gz")
    parser.add_argument("--seed", type=int, default=0, help="seed of all settings (0)")
    chosen = parser.parse_args(words)
    for kind in FILES:
        given, wanted = getattr(chosen, kind) is not None, file_kind(chosen.population) == kind
        if given != wanted:
            verb = "needs" if wanted else "does not take"
            parser.error(f"{chosen.population} {verb} --{kind}")
    if chosen.runs < 1 or chosen.workers < 1 or chosen.unseen < 0:
        parser.error("--runs and --workers should be 1 or more, --unseen 0 or more")
    try:
        load(chosen.population, file_of(chosen))
    except (OSError, KeyError, ValueError) as error:
        parser.error(f"--{file_kind(chosen.population)} {file_of(chosen)}: {error}")
    return chosen
