"""Starts one process per contestant and lets them take turns: A, B, C, A, B, C, ...

The clock of a machine drifts within seconds, so contestants that ran one after the other would be
compared at different clocks.  Here every round has all of them, and the best round counts.
"""

from __future__ import annotations

import json
import platform
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import idle
from benchmarks.peers.contestants import CONTESTANTS, available_cpus
from benchmarks.peers.problem import Case
from benchmarks.peers.results import best_time, find_disagreeing, microseconds

ROOT = Path(__file__).resolve().parents[2]
PAUSE = 0.05  # seconds; idle threads of OpenMP and BLAS pools spin for some milliseconds
GRACE = 10.0  # seconds a worker has to end by itself
STDERR_SHOWN = 4000  # characters of a dead worker's last words

Reply = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """How long to measure.

    Parameters
    ----------
    rounds : int
        Turns of each contestant in each case.
    seconds : float
        Wanted duration of a turn.
    least : int
        Steps of a turn, however long they last.
    limits : bool
        Whether the machine's own limits take a turn too.
    timeout : float
        Seconds after which a silent worker is given up.
    interpreters : dict
        Python to run a contestant or a library under, where it is not this one.
    """

    rounds: int = 7
    seconds: float = 0.2
    least: int = 3
    limits: bool = True
    timeout: float = 900.0
    interpreters: dict[str, str] = field(default_factory=dict)

    def command(self, name: str) -> list[str]:
        """The command line of a contestant's worker."""
        library = CONTESTANTS[name].library
        python = self.interpreters.get(name, self.interpreters.get(library, sys.executable))
        return [python, "-m", "benchmarks.peers.worker", name]


class Process:
    """A worker seen from the runner: ask, and get a reply whatever happens to it."""

    def __init__(self, command: list[str], timeout: float) -> None:
        self.command = command
        self.timeout = timeout
        self.process: subprocess.Popen[str] | None = None

    @property
    def alive(self) -> bool:
        return self.process is not None

    def _start(self) -> subprocess.Popen[str]:
        # stderr goes to a file: a pipe nobody reads would fill up and block the worker.
        stderr = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        try:
            process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        except OSError:
            stderr.close()
            raise
        self.process, self.stderr = process, stderr
        self.replies: queue.Queue[str | None] = queue.Queue()
        self.reader = threading.Thread(target=_collect, args=(process, self.replies), daemon=True)
        self.reader.start()
        return process

    def ask(self, do: str, **fields: Any) -> Reply:
        """Send a request and wait for the reply; a worker that dies or hangs replies an error."""
        try:
            process = self.process or self._start()
        except OSError as error:
            return {"error": f"cannot run {self.command[0]}: {error}"}
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it died, and the end of its replies says so
            process.stdin.write(json.dumps({"do": do, **fields}) + "\n")
            process.stdin.flush()
        try:
            line = self.replies.get(timeout=self.timeout)
        except queue.Empty:
            process.kill()
            return {"error": f"no answer to {do!r} in {self.timeout:g} s\n{self._bury()}"}
        if line is None:
            said = self._bury()
            return {"error": f"died with exit code {process.returncode} in {do!r}\n{said}"}
        reply: Reply = json.loads(line)
        return reply

    def _bury(self) -> str:
        """Close the pipe, upon which a worker ends, kill one that does not; its last words."""
        process, self.process = self.process, None
        assert process is not None and process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(timeout=GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
        self.reader.join(GRACE)
        with process, self.stderr:
            self.stderr.seek(0)
            return self.stderr.read()[-STDERR_SHOWN:]

    def stop(self) -> None:
        """End the process, if there is one."""
        if self.process is not None:
            self._bury()


def _collect(process: subprocess.Popen[str], replies: queue.Queue[str | None]) -> None:
    """Move the lines of a worker into a queue, which unlike a pipe can be read with a timeout."""
    assert process.stdout is not None
    for line in process.stdout:
        replies.put(line)
    replies.put(None)


def run(
    cases: Iterable[Case],
    names: Iterable[str],
    settings: Settings,
    save: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Measure all cases; `save` gets the results so far after each of them.

    Returns
    -------
    dict
        ``machine``, ``settings``, ``contestants`` (versions and threads, or why skipped) and
        ``cases``: each with every sample of every contestant.
    """
    cases = list(cases)
    workers = {name: Process(settings.command(name), settings.timeout) for name in names}
    machine = Process(settings.command("fastdnn-fit"), settings.timeout)
    stolen = idle.Stolen()
    results: dict[str, Any] = {
        "machine": describe_machine(),
        "settings": {name: getattr(settings, name) for name in ("rounds", "seconds", "least")},
        "contestants": {},
        "cases": [],
    }
    try:
        for name, worker in list(workers.items()):
            reply = worker.ask("hello")
            results["contestants"][name] = _introduction(name, reply)
            if "ok" not in reply:
                _say(f"{name}: {_last_line(results['contestants'][name]['why'])}")
                worker.stop()
                del workers[name]
        for number, case in enumerate(cases, start=1):
            _say(f"[{number}/{len(cases)}] {case.label}, {case.dtype}")
            results["cases"].append(run_case(case, workers, machine, settings))
            results["machine"]["stolen"] = stolen.share()
            save(results)
    finally:
        for worker in (*workers.values(), machine):
            worker.stop()
    return results


def _introduction(name: str, reply: Reply) -> dict[str, Any]:
    if "ok" in reply:
        return {"status": "ran", **reply["ok"]}
    if "missing" in reply:
        return {"status": "skipped", "why": f"skipped: {name} (not installed)"}
    return {"status": "error", "why": reply["error"]}


def run_case(
    case: Case, workers: dict[str, Process], machine: Process, settings: Settings
) -> dict[str, Any]:
    """One case: everyone prepares, then everyone measures in turns, the machine's limits too."""
    entries: dict[str, dict[str, Any]] = {}
    for name, worker in workers.items():
        entries[name] = _entry(_prepare(worker, case, settings))
        time.sleep(PAUSE)
    peaks: dict[str, Any] = {"flops": [], "bandwidth": []}
    for _ in range(settings.rounds):
        # In every round, for the speed of the machine drifts, and the best of all rounds counts.
        if settings.limits and "why" not in peaks:
            _add_peaks(peaks, machine.ask("peaks", dtype=case.dtype))
            time.sleep(PAUSE)
        for name, worker in workers.items():
            if entries[name]["status"] != "ran":
                continue
            reply = worker.ask("measure")
            if "ok" in reply:
                entries[name]["samples"].append(reply["ok"]["seconds"])
            else:
                entries[name] = _entry(reply)
            time.sleep(PAUSE)
    costs = {name: entry["cost"] for name, entry in entries.items() if entry["status"] == "ran"}
    for name in find_disagreeing(costs, case.dtype, case.optimizer):
        entries[name]["disagrees"] = True
    for name, entry in entries.items():
        _say(f"    {name:16} {_told(entry)}")
    return {**case.to_json(), "flops": case.row.flops, "peaks": peaks, "entries": entries}


def _prepare(worker: Process, case: Case, settings: Settings) -> Reply:
    if not worker.alive:  # it died in the last case; this one is a new chance
        reply = worker.ask("hello")
        if "ok" not in reply:
            return reply
    return worker.ask("open", case=case.to_json(), seconds=settings.seconds, least=settings.least)


def _entry(reply: Reply) -> dict[str, Any]:
    if "ok" in reply:
        return {"status": "ran", "samples": [], "disagrees": False, **reply["ok"]}
    if "unsupported" in reply:
        return {"status": "unsupported", "why": reply["unsupported"]}
    return {"status": "error", "why": next(iter(reply.values()))}


def _add_peaks(peaks: dict[str, Any], reply: Reply) -> None:
    if "ok" not in reply:
        peaks["why"] = f"not measured: {next(iter(reply.values()))}"
        return
    for limit in ("flops", "bandwidth"):
        peaks[limit].append(reply["ok"][limit])


def _told(entry: dict[str, Any]) -> str:
    if entry["status"] != "ran":
        return f"{entry['status']}: {_last_line(entry['why'])}"
    loud = f"  DISAGREES, cost {entry['cost']:.6g}" if entry["disagrees"] else ""
    return f"{microseconds(best_time(entry)):>10} us{loud}"


def _last_line(text: str) -> str:
    """What a traceback comes to; the whole of it is in the results and printed at the end."""
    return text.strip().rpartition("\n")[2]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def describe_machine() -> dict[str, Any]:
    """Processor, number of threads, system and time."""
    return {
        "cpu": _cpu_model(),
        "threads": available_cpus(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load": idle.load(),
        "date": time.strftime("%Y-%m-%d"),
    }


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
