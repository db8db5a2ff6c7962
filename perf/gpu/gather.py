# What `run.sh measure` left in its folder, put together: records.jsonl, for perf/records/gpu.jsonl, and summary.md, a table for
# docs/gpu-status.md. Goals are those of an H200; on another card the same shares are asked of what that card has, and the card is named.
#   python3 gather.py results OUT CARD COMMIT DATE PART...    whatever is there so far; the parts that have not ended are named
#   python3 gather.py status OUT GPU-STATUS.md                the last column of every kernel that passed, and the table of what was measured
#   python3 gather.py gaps TRACE SHAPE STEPS                  a trace as JSON: where the card idles, and where the host waits
import json
import pathlib
import re
import sqlite3
import sys

SHAPES = {"124m": "B=16 T=1024 x1", "1b": "B=4 T=2048 x4", "stage-8b": "B=2 T=4096 x4"}
MFU_GOALS = {"124m": 0.40, "1b": 0.48, "stage-8b": 0.54}
ATTENTION_GOALS = {"attention_forward_d128": 320, "attention_backward_d128": 270}   # TFLOP/s, by tensor cores that an H100 has too
SHARE_GOALS = {"cross_entropy": 0.85, "adamw": 0.90, "adamw_stochastic": 0.90, "topk_pack": 0.60}
SHARE_GOAL = 0.88
# no share of the bandwidth is asked of these: tensor cores bound them, the bench has them in a cache, or they are microseconds of a step
NO_SHARE = ("attention_forward", "attention_gradient", "attention_backward", "attention_delta", "attention_cached_merge", "rmsnorm_weight_gradient", "embedding_backward",
            "sum_partials", "code_", "topk_add")
WAITS = ("cuStreamSynchronize", "cuEventSynchronize", "cuCtxSynchronize", "cuMemcpyDtoH_v2", "cuMemcpyHtoD_v2", "cuMemcpyDtoD_v2")
LAUNCHES = ("cuGraphLaunch", "cuLaunchKernel")


def json_lines(path):
    for line in path.read_text().splitlines() if path.exists() else []:
        if line.startswith("{") and line.endswith("}"):
            try:
                yield json.loads(line)
            except ValueError:   # cut off in the middle
                pass


def journal(out):
    """The last word on each part: (state, rest of its line)."""
    path = out / "journal.txt"
    said = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        name, state, *rest = line.split(" ", 2)
        said[name] = (state, rest[0] if rest else "")
    return said


def kernel_rows(out):
    bench, log = out / "bench.out", out / "bench.log"
    if bench.exists() and bench.read_text().rstrip().endswith("}"):
        return [{"scenario": "gpu.kernels." + row["kernel"]} | {key: row[key] for key in row if key != "kernel"}
                for row in json.loads(bench.read_text())["kernels"] if "error" not in row]
    said = log.read_text() if log.exists() else ""   # it was stopped: what it had said by then
    found = re.findall(r"^(\w+) +(.*): ([\d.]+) us, [\d.]+ GB/s = (\d+) ?% of copy \(([\d.]+) GB/s\)", said, re.M)
    return [{"scenario": "gpu.kernels." + name, "shape": shape, "timeUsMedian": float(us), "ratio": float(ratio) / 100, "copyBytesPerSecond": float(copy) * 1e9}
            for name, shape, us, ratio, copy in found]


def backward_rows(rows):
    """Attention backward as a whole, counted as others count it: 5 products of T*T*D, causal."""
    for width in (32, 64, 128):
        parts = [row for row in rows for part in ("delta", "gradient_kv", "gradient_q") if row["scenario"] == f"gpu.kernels.attention_{part}_d{width}"]
        if len(parts) == 3 and all("flops" in row for row in parts):
            us, product = sum(row["timeUsMedian"] for row in parts), max(row["flops"] for row in parts) / 4
            yield {"scenario": f"gpu.kernels.attention_backward_d{width}", "shape": parts[1]["shape"], "timeUsMedian": us, "flops": 5 * product, "tflops": 5 * product / us / 1e6}


def kernel_lines(rows):
    shares = {row["scenario"].removeprefix("gpu.kernels."): row["ratio"] for row in rows if "ratio" in row}
    shares = {name: share for name, share in shares.items() if not name.startswith(NO_SHARE)}
    below = {name: share for name, share in shares.items() if share < SHARE_GOALS.get(name, SHARE_GOAL)}
    if shares:
        copy = max(row.get("copyBytesPerSecond", 0) for row in rows)
        yield ("kernels bound by memory", f"{len(shares) - len(below)} of {len(shares)} reach theirs; copies {copy / 1e12:.2f} TB/s",
               "88 % of copies; adamw 90, cross_entropy 85, topk_pack 60", not below)
    for name, share in sorted(below.items(), key=lambda item: item[1]):
        yield f"`{name}`", f"{share:.0%} of copies", f"{SHARE_GOALS.get(name, SHARE_GOAL):.0%}", False
    for row in rows:
        name = row["scenario"].removeprefix("gpu.kernels.")
        if name in ATTENTION_GOALS and row.get("flops"):
            rate = row["flops"] / row["timeUsMedian"] / 1e6
            yield f"`{name}`, {row['shape']}", f"{rate:.0f} TFLOP/s", f"{ATTENTION_GOALS[name]}", rate >= ATTENTION_GOALS[name]


def training_lines(out, model, torch, records):
    steps = list(json_lines(out / f"train-{model}" / "metrics.jsonl"))[5:]
    if not steps:
        return
    rates, mfus = ([step[key] for step in steps] for key in ("tokensPerSecond", "mfu"))
    rate = sorted(rates)[len(rates) // 2]
    row = {"scenario": "gpu.train-step", "shape": f"{model} {SHAPES[model]}", "tokensPerSecondSamples": rates, "tokensPerSecondMedian": rate}
    if None not in mfus:
        row["mfuMedian"] = sorted(mfus)[len(mfus) // 2]
        yield f"{model}, {SHAPES[model]}: MFU", f"{row['mfuMedian']:.1%} ({rate:.0f} tokens/s)", f"{MFU_GOALS[model]:.0%}", row["mfuMedian"] >= MFU_GOALS[model]
    else:
        yield f"{model}, {SHAPES[model]}: tokens/s", f"{rate:.0f}", "the card's peak is not known", None
    for mode, kinds in (("eager", ["eager"]), ("compile", ["compile", "compile-cudnn"])):
        rows = [other for kind in kinds if (other := torch.get((model, kind)))]
        if rows:
            ratio = row["ratioTo" + mode.title()] = rate / max(other["tokensPerSecondMedian"] for other in rows)
            yield f"{model}: times PyTorch, {mode}", f"{ratio:.2f}", "1.1" if mode == "compile" else "", ratio >= 1.1 if mode == "compile" else None
        for other in rows if "mfuMedian" in row else []:   # one count of FLOP and one peak for both sides: the engine's
            other["mfuMedian"] = row["mfuMedian"] * other["tokensPerSecondMedian"] / rate
    records.append(row)


def trace_lines(row):
    yield "launch gaps, 124m", f"{row['gapShare']:.2%} of the step", "below 2 %", row["gapShare"] < 0.02
    if "waitPointsPerStep" in row:
        yield ("the host waits, 124m", f"{row['waitPointsPerStep']:.2f} times a step, {row['idleAtWaitsShare']:.2%} of it idle there",
               "once, for the result", row["waitPointsPerStep"] <= 1.01)


def passed_kernels(out):
    """Kernels of whose shapes every one was checked, and all are right."""
    right, seen = {}, ""
    for log in [out / "check.log", out / "check-each.log"]:
        for state, name in re.findall(r"^(ok|FAIL) +(\w+)", log.read_text() if log.exists() else "", re.M):
            if log.name == "check-each.log" and name != seen:
                right.pop(name, None)   # this process began it anew
            right[name] = right.get(name, True) and state == "ok"
            seen = name
    if journal(out).get("check", ("",))[0] != "passed" and journal(out).get("check-each", ("",))[0] not in ("passed", "failed"):
        right.pop(seen, None)   # cut off: its later shapes may be missing
    return {name for name, ok in right.items() if ok}, {name for name, ok in right.items() if not ok}


def results(out, card, commit, date, parts):
    head = {"date": date, "commit": commit, "device": card}
    records = kernel_rows(out)
    records += backward_rows(records)
    rehearsal = card.startswith("rehearsal")
    lines, torch = [] if rehearsal else list(kernel_lines(records)), {}
    for name in ["parity", "trace", "torch-kernels"] + ["torch-" + model for model in SHAPES]:
        for row in json_lines(out / (name + ".out")):
            records.append(row)
            if "model" in row:
                torch[row["model"], row["mode"]] = row
    for model in SHAPES:
        lines += training_lines(out, model, torch, records)
    for row in records:
        if row["scenario"] == "gpu.parity":
            worst = row["worstRelativeLossDifference"]
            lines.append((f"losses of {row['steps']} steps beside the CPU's", f"within {worst:.3%}", "0.5 %", worst < 0.005))
        if row["scenario"] == "gpu.launch-gaps":
            lines += trace_lines(row)
    said = journal(out)
    ok, wrong = passed_kernels(out)
    lines.insert(0, ("kernels that agree with the oracle", f"{len(ok)}" + (f"; NOT {', '.join(sorted(wrong))}" if wrong else ""), "all", said.get("check", ("",))[0] == "passed"))
    for part in parts:
        state, rest = said.get(part, ("missing", ""))
        if part.startswith("sanitizer-") and state in ("passed", "failed"):
            lines.append((f"compute-sanitizer {part.removeprefix('sanitizer-')}", "clean" if state == "passed" else "findings, or it did not end", "clean", state == "passed"))
    parts = [part for part in parts if part != "check-each" or said.get("check", ("",))[0] != "passed"]
    text = [f"{card}, {date}, commit {commit[:12]}. {'Its times say nothing about a card.' if rehearsal else 'Goals are those for an H200.'}", "", "| what | measured | goal | reached |", "|---|---|---|---|"]
    text += [f"| {what} | {measured} | {goal} | {'' if reached is None else 'yes' if reached else 'NO'} |" for what, measured, goal, reached in lines]
    text += ["", *(f"{part}: {' '.join(said[part])}" if part in said else f"{part}: MISSING" for part in parts if said.get(part, ("",))[0] != "passed")]
    (out / "records.jsonl").write_text("".join(json.dumps(head | row) + "\n" for row in records))
    (out / "summary.md").write_text("\n".join(text).rstrip() + "\n")
    (out / "run.json").write_text(json.dumps(head) + "\n")


def status(out, path):
    head = json.loads((out / "run.json").read_text())
    if head["device"].startswith(("rehearsal", "no card")):
        sys.exit(f"gather: {out} is a {head['device']}: no card has passed anything")
    ok, wrong = passed_kernels(out)
    text = path.read_text()
    for name in ok:
        text = re.sub(rf"^(\| `{name}` \|.*\|)[^|]*\|$", rf"\1 {head['date']}, {head['device']} |", text, flags=re.M)
    table = re.search(r"^\| what .*?(?=\n\n|\Z)", (out / "summary.md").read_text(), re.M | re.S).group(0)
    first = f"On {head['device']}, {head['date']}, commit {head['commit'][:12]}; goals are those for an H200:\n\n{table}\n"
    text = re.sub(r"(?<=<!-- measured -->\n).*?(?=<!-- end of measured -->)", lambda _: first, text, flags=re.S)
    path.write_text(text)
    print(f"gather: {len(ok)} kernels passed on {head['device']}; not: {', '.join(sorted(wrong)) or 'none'}; the words above the table are yours to write")


def read_trace(path):
    """(kernels, everything that keeps the card busy, driver calls) with their times in ns, from Nsight Systems' SQLite or from cupti_trace."""
    if path.suffix == ".sqlite":
        data = sqlite3.connect(path)
        tables = {name for name, in data.execute("SELECT name FROM sqlite_master")}
        kinds = [sorted(data.execute(f'SELECT start, "end" FROM CUPTI_ACTIVITY_KIND_{kind}')) if "CUPTI_ACTIVITY_KIND_" + kind in tables else []
                 for kind in ("KERNEL", "MEMCPY", "MEMSET")]
        return kinds[0], sorted(sum(kinds, [])), []
    rows = {"k": [], "c": [], "s": [], "a": []}
    for line in path.read_text().splitlines():
        kind, *fields = line.split(" ")
        if kind in rows and len(fields) >= 2 and fields[0].isdigit() and fields[1].isdigit() and int(fields[0]) <= int(fields[1]):
            rows[kind].append((int(fields[0]), int(fields[1]), *fields[2:]))
    return sorted(rows["k"]), sorted(rows["k"] + rows["c"] + rows["s"]), sorted(rows["a"])


def gaps(path, shape, steps):
    """Counted from three fifths of the kernels on, when every step is the same graphs, to the last kernel: what follows is the end of the run."""
    kernels, work, calls = read_trace(path)
    if len(kernels) < 100:
        sys.exit(f"{len(kernels)} kernels in the trace: it did not see the card's work")
    start = len(kernels) * 3 // 5
    first, last = kernels[start][0], kernels[-1][1]
    busy, reached, before, idle = 0, first, "", []
    for row in work:
        if first <= row[0] and row[1] <= last:
            if row[0] > reached:
                idle.append((reached, row[0], before, row[2] if len(row) > 2 else "a copy or fill"))
            busy, reached = busy + max(0, row[1] - max(row[0], reached)), max(row[1], reached)
            before = row[2] if len(row) > 2 else "a copy or fill"
    line = {"scenario": "gpu.launch-gaps", "shape": shape, "kernels": len(kernels) - start, "spanUs": (last - first) / 1e3, "busyUs": busy / 1e3,
            "gapShare": 1 - busy / (last - first), "by": "Nsight Systems" if path.suffix == ".sqlite" else "CUPTI"}
    if calls:
        inside = [row for row in calls if first <= row[0] and row[1] <= last]
        points, waiting, at_waits = 0, False, set()   # two waits may end in one gap
        for began, ended, name in inside:
            if name.startswith(LAUNCHES):
                waiting = False
            elif name.startswith(WAITS):
                points, waiting = points + (not waiting), True
                at_waits.update((since, to) for since, to, *_ in idle if since <= ended < to)
        line |= {"waitPointsPerStep": points / (steps * (len(kernels) - start) / len(kernels)), "idleAtWaitsShare": sum(to - since for since, to in at_waits) / (last - first)}
    largest = sorted(idle, key=lambda gap: gap[0] - gap[1])[:8]
    line["largestGapsUs"] = [{"us": (to - since) / 1e3, "after": after, "before": ahead} for since, to, after, ahead in largest]
    print(json.dumps(line))


verb, where, *rest = sys.argv[1:]
if verb == "results":
    results(pathlib.Path(where), *rest[:3], rest[3:])
elif verb == "status":
    status(pathlib.Path(where), pathlib.Path(rest[0]))
elif verb == "gaps":
    gaps(pathlib.Path(where), rest[0], int(rest[1]))
else:
    sys.exit(f"gather: no '{verb}'; there are results, status, gaps")
