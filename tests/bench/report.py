"""Tables of medians, and the verdict on each target."""
import os
import statistics

from cases import CASES

BENCHMARKS_OWN = ("floor", "local")
MET = {True: "met", False: "**not met**", None: "not measured"}


class Results:
    """Samples by case and by who was measured."""

    def __init__(self, samples):
        self.samples = samples

    def median(self, case, name, key):
        values = [s[key] for s in self.samples.get(case, {}).get(name, []) if s.get(key) is not None]
        return statistics.median(values) if values else None

    def names(self, case=None):
        """Everyone with a sample, wasmount first and the benchmark's own last."""
        cases = [case] if case else self.samples
        found = dict.fromkeys(name for c in cases for name in self.samples.get(c, {}))
        return sorted(found, key=lambda n: (n != "wasmount", n in BENCHMARKS_OWN, list(found).index(n)))

    def best_peer(self, case, key, more_is_better):
        values = [(self.median(case, n, key), n) for n in self.names(case) if n not in ("wasmount", *BENCHMARKS_OWN)]
        values = [(value, name) for value, name in values if value is not None]
        return (max if more_is_better else min)(values) if values else (None, None)


def cell(value):
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def ratio(value, other):
    """value ÷ other, or None: a ratio to nothing, or of nothing, says nothing."""
    return value / other if value and other else None


def times(value):
    return "–" if value is None else f"{value:.2f}×"


def _table(head, rows):
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head),
                      *("| " + " | ".join(row) + " |" for row in rows)])


def medians(results):
    """One row for each figure. A ratio above 1 says that wasmount is the better one, whatever the unit."""
    names, rows = results.names(), []
    for case in results.samples:
        for figure in CASES[case].figures:
            values = {n: results.median(case, n, figure.key) for n in names}
            if all(value is None for value in values.values()):
                continue
            best, peer = results.best_peer(case, figure.key, figure.more_is_better)
            ours = values.get("wasmount")
            pairs = ((ours, values.get("floor")), (ours, best))
            ratios = [times(ratio(a, b) if figure.more_is_better else ratio(b, a)) for a, b in pairs]
            unit = f", {figure.unit}" if figure.unit else ""
            rows.append([figure.title + unit, *(cell(values[n]) for n in names), ratios[0],
                         ratios[1] + (f" {peer}" if ours is not None and peer else "")])
    return _table(["", *names, "to the floor", "to the best peer"], rows)


def costs(results, key, cases=None):
    """One row for each case: CPU seconds or peak memory."""
    names = [n for n in results.names() if key == "cpu_s" or n not in BENCHMARKS_OWN]
    rows = [[case, *(cell(results.median(case, n, key)) for n in names)] for case in cases or results.samples]
    return _table(["", *names], [row for row in rows if any(value != "–" for value in row[1:])])


def verdicts(results):
    """(show, what, value, target, met) for each target; met is None where something was not measured."""
    found = []

    def judge(show, what, value, target, at_least):
        met = None if value is None else (value >= target if at_least else value <= target)
        found.append((show, what, value, f"{'≥' if at_least else '≤'} {target:g}", met))

    def ours(case, key):
        return results.median(case, "wasmount", key)

    def to(name, case, key):
        return ratio(ours(case, key), results.median(case, name, key))

    def to_peer(case, key, more_is_better):
        return ratio(ours(case, key), results.best_peer(case, key, more_is_better)[0])

    judge(1, "sequential, share of the floor", to("floor", "sequential", "mib_s"), 0.7, True)
    judge(1, "4 readers, share of the floor", to("floor", "parallel", "mib_s"), 0.7, True)
    judge(1, "small files, share of the floor", to("floor", "small", "files_s"), 0.55, True)
    judge(1, "`ls -l`, time ÷ bare LISTs", to("floor", "list", "seconds"), 2.5, False)
    judge(1, "`find`, time ÷ bare LISTs", to("floor", "find", "seconds"), 2.5, False)
    for kib in (4, 128):
        for jobs in (1, 16):
            judge(1, f"random {kib} KiB × {jobs}, ÷ best peer", to_peer(f"random-{kib}-{jobs}", "iops", True), 1, True)
    judge(1, "100 single reads, MiB sent", ours("single", "sent_mib"), 100, False)
    judge(1, "100 single reads, time ÷ bare GETs", to("floor", "single", "seconds"), 1.2, False)
    judge(1, "sequential ÷ best peer", to_peer("sequential", "mib_s", True), 1.4, True)
    judge(1, "4 readers ÷ best peer", to_peer("parallel", "mib_s", True), 1.4, True)
    judge(1, "small files ÷ best peer", to_peer("small", "files_s", True), 1.3, True)
    judge(1, "`ls -l`, time ÷ best peer", to_peer("list", "seconds", False), 1, False)
    judge(1, "`find`, time ÷ best peer", to_peer("find", "seconds", False), 1, False)
    judge(1, "reopened file ÷ best peer", to_peer("sequential", "again_mib_s", True), 1, True)
    judge(1, "mount to first byte, time ÷ best peer", to_peer("first", "seconds", False), 1, False)
    judge(1, "CPU per GiB ÷ best peer", to_peer("sequential", "cpu_per_gib", False), 0.6, False)
    judge(2, "epoch 2 from the disk cache ÷ local files", ratio(ours("epochs", "cached_2"),
          results.median("epochs", "local", "plain_2")), 0.95, True)
    judge(2, "epoch 2 ÷ best peer with its disk cache", to_peer("epochs", "cached_2", True), 2, True)
    judge(2, "epoch 1 with the cache ÷ without", ours("epochs", "fill"), 0.95, True)
    judge(2, "GETs in epoch 2", ours("epochs", "gets_2"), 0, False)
    judge(2, "share of a core in epoch 2, %", ours("epochs", "core_2"), 1, False)
    judge(3, "64 streams: resident MiB", ours("streams", "rss_mib"), 192, False)
    judge(3, "64 streams: killed for memory", ours("streams", "oom_kills"), 0, False)
    judge(3, "64 streams: longest wait, s", ours("streams", "stall_s"), 2, False)
    return found


def memory_of_epochs(results):
    """How the memory of each client was limited there, and what it took: a client that keeps all in memory has not shown
    its disk cache."""
    said = []
    for name in results.names("epochs"):
        sample = results.samples["epochs"][name][-1]
        if how := sample.get("plain_limit"):
            took = [results.median("epochs", name, f"{mode}_rss_mib") for mode in ("plain", "cached")]
            said.append(f"{name} by {how} ({' / '.join(map(cell, took))} MiB resident)")
    return "Memory in the epochs was limited, without / with disk cache: " + ", ".join(said) + "."


def markdown(samples, reps, versions, notes, failures):
    """The whole report."""
    results = Results(samples)
    parts = [f"## wasmount beside its peers: medians, {os.cpu_count()} cores, kernel {os.uname().release}",
             "Repetitions: " + ", ".join(f"{case} {count}" for case, count in reps.items()) + ".",
             "Versions: " + "; ".join(f"{name}: {said}" for name, said in versions.items()) + ".",
             "A ratio above 1 says that wasmount is the better one.",
             medians(results)]
    if "epochs" in results.samples:
        parts.append(memory_of_epochs(results))
    parts += ["### CPU seconds of the client (floor: of the requests; local: of the reader)", costs(results, "cpu_s"),
              "### Peak resident memory, MiB", costs(results, "rss_mib"),
              "### Targets",
              _table(["show", "what", "measured", "target", ""],
                     [[str(show), what, cell(value), target, MET[met]]
                      for show, what, value, target, met in verdicts(results)])]
    parts += notes
    parts += [f"failed: {failure}" for failure in failures]
    return "\n\n".join(parts)
