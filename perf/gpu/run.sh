#!/usr/bin/env bash
# Everything that a GPU can tell about this project, in one command and one half hour, on a machine that needs neither .NET nor network.
#   perf/gpu/run.sh pack                                   here: the engine for linux-x64, self-contained, in build/gpu and as build/gpu.tar.gz
#   build/gpu/run.sh measure --device cuda:0 [--out DIR]   there: checks, times, trains, compares with PyTorch, sanitizes
#   build/gpu/run.sh measure --device softcuda:0           a rehearsal anywhere; what the machine lacks is skipped aloud
# --minutes N: nothing starts after them (default 28).   --parts 'check bench': only these.   --limit N: seconds that no part may pass.
# Parts run in order of worth, each with a limit of its own; one that fails or hangs stops nobody. Results go into --out (default gpu-results): logs,
# JSON per part, summary.txt, records.jsonl, whose lines belong into perf/records/gpu.jsonl, and all of it in results.tar.gz.
# Where a command may last ten minutes only: three calls with --minutes 9, --parts a third of them, and one --out (see `parts`).
# Ends with 1 when a part failed; a skipped part is not a failure, but it is named at the end.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
all_parts='doctor check check-each bench train-124m train-stage-8b torch-124m torch-stage-8b train-1b torch-1b parity torch-kernels trace sanitizer-memcheck sanitizer-racecheck sanitizer-synccheck sanitizer-initcheck'
skipped=() failed=() passed=()

say() { printf 'gpu: %s\n' "$*" >&2; }
skip() { say "SKIPPED $1: $2"; skipped+=("$1: $2"); }

# part NAME SECONDS COMMAND...: runs it in a process group of its own, with its output in out/NAME.out and .log, for so long at most
part() {
    local name=$1 limit=$2 began=$SECONDS left=$((60 * minutes - SECONDS)) status=0 runner watcher
    shift 2
    case " $parts " in *" $name "*) ;; *) return 0 ;; esac
    if [ "$left" -lt 15 ]; then skip "$name" "the $minutes minutes are over"; return 0; fi
    limit=$((limit < left ? limit : left))
    limit=$((limit < longest ? limit : longest))
    say "$name (at most $limit s) ..."
    set -m
    ("$@") >"$out/$name.out" 2>"$out/$name.log" &
    runner=$!
    (sleep "$limit"; echo "stopped after $limit s" >>"$out/$name.log"; kill -KILL -- "-$runner") 2>/dev/null &
    watcher=$!
    set +m
    wait "$runner" 2>/dev/null || status=$?
    kill -KILL -- "-$runner" 2>/dev/null || true   # whatever it left behind would hold the card
    kill -KILL -- "-$watcher" 2>/dev/null || true
    wait "$watcher" 2>/dev/null || true
    if [ "$status" = 0 ]; then
        passed+=("$name ($((SECONDS - began)) s)")
    else
        tail -n 15 "$out/$name.log" >&2
        say "FAILED $name with status $status; all of it is in $out/$name.log"
        failed+=("$name")
    fi
    gather
}

pack() {
    local root to
    root=$(cd "$here/../.." && pwd)
    to=$root/build/gpu
    rm -rf "$to"
    mkdir -p "$to/data"
    # The lock files are those of the portable build; the runtime that is carried along has one of its own.
    dotnet publish "$root/src/Engine" -c Release -r linux-x64 --self-contained -p:NuGetLockFilePath=obj/linux-x64.lock.json \
        -o "$to/engine" -v quiet
    cp "$here/run.sh" "$here/torch_side.py" "$to/"
    awk 'NR > 2 { print $1 }' "$root/docs/kernel-registers.txt" >"$to/kernels"
    cat "$root"/docs/*.md "$root"/docs/decisions/*.md "$root/README.md" >"$to/data/text.txt"
    git -C "$root" rev-parse HEAD >"$to/commit" 2>/dev/null || echo unknown >"$to/commit"
    if compgen -G "$root/build/native/lib*_soft.so" >/dev/null; then
        mkdir -p "$to/softcuda"
        cp "$root"/build/native/lib*_soft.so "$to/softcuda/"
    else
        skip softcuda 'build/native is not built, so the package cannot rehearse; fix: cmake -S . -B build/native && cmake --build build/native'
    fi
    tar -C "$root/build" -czf "$to.tar.gz" gpu
    say "packed into $to ($(du -sh "$to" | cut -f 1)) and $to.tar.gz ($(du -sh "$to.tar.gz" | cut -f 1)); carry one of them"
}

# metric FILE KEY: the values of a key of a JSON-lines file, one a line
metric() { grep -o "\"$2\":[-0-9.eE+]*" "$1" | cut -d : -f 2; }

train() { # DEVICE STEPS NAME [FLAGS...]
    local on=$1 steps=$2 name=$3; shift 3
    ${in_place-} "$engine" train --data "$here/data/text.txt" --device "$on" --steps "$steps" --seed 1 --checkpoint-every 0 --out "$out/$name" "$@"
}

# A run that ends when its steps are timed: nobody wants the checkpoint of such a model, which may have gigabytes.
timed() { # NAME [FLAGS...]
    local name=$1 lines=0 trainer; shift
    (in_place=exec; train "$device" 100000 "$name" --warmup 2 --schedule constant "$@") &   # so that the kill below meets the engine
    trainer=$!
    while [ "$lines" -lt "$timed_steps" ] && kill -0 "$trainer" 2>/dev/null; do
        sleep 0.2
        lines=$(wc -l <"$out/$name/metrics.jsonl" 2>/dev/null || echo 0)
    done
    kill -KILL "$trainer" 2>/dev/null || true
    wait "$trainer" 2>/dev/null || true
    [ "$lines" -ge "$timed_steps" ]
}

# The largest difference of the losses of two runs, relative; more than 0.5 % in a hundred steps is not bf16's rounding (2^-8 a value,
# averaged over the tokens of a batch).
parity() {
    train cpu "$parity_steps" parity-cpu
    train "$device" "$parity_steps" parity-device
    paste <(metric "$out/parity-cpu/metrics.jsonl" loss) <(metric "$out/parity-device/metrics.jsonl" loss) | awk -v steps="$parity_steps" '
        { d = ($1 > $2 ? $1 - $2 : $2 - $1) / $1; if (d > worst) worst = d; rows++ }
        END { printf "{\"scenario\":\"gpu.parity\",\"steps\":%d,\"worstRelativeLossDifference\":%g}\n", rows, worst; exit !(rows == steps && worst < 0.005) }'
}

# Where the card idles: the time between kernels and copies over the last steps of a run, from a trace by Nsight Systems. Read from its SQLite
# export, whose tables stay (names of reports and columns of `nsys stats` do not). Counted from three fifths of the kernels on, when every
# step is the same graphs, to the last kernel; what follows that one is the end of the run.
trace() {
    nsys profile --trace cuda --cuda-graph-trace node --sample none --cpuctxsw none --force-overwrite true --output "$out/trace" \
        "$engine" train --data "$here/data/text.txt" --device "$device" --steps 30 --seed 1 --checkpoint-every 0 --out "$out/trace-run" "${model_124m[@]}" >&2
    nsys export --type sqlite --force-overwrite true --output "$out/trace.sqlite" "$out/trace.nsys-rep" >&2
    gaps "$out/trace.sqlite"
}

gaps() { # SQLITE
    python3 - "$1" <<'PY'
import json, sqlite3, sys
data = sqlite3.connect(sys.argv[1])
tables = {name for name, in data.execute("SELECT name FROM sqlite_master")}

def rows(kind):
    table = "CUPTI_ACTIVITY_KIND_" + kind
    return sorted(data.execute(f'SELECT start, "end" FROM {table}')) if table in tables else []

kernels = rows("KERNEL")
if len(kernels) < 100:
    sys.exit(f"{len(kernels)} kernels in the trace: it did not see the card's work")
first, last = kernels[len(kernels) * 3 // 5][0], kernels[-1][1]
busy, reached = 0, first
for start, stop in sorted(kernels + rows("MEMCPY") + rows("MEMSET")):
    if first <= start and stop <= last:
        busy, reached = busy + max(0, stop - max(start, reached)), max(stop, reached)
print(json.dumps({"scenario": "gpu.launch-gaps", "shape": "124m B=16 T=1024", "kernels": len(kernels) * 2 // 5,
                  "spanUs": (last - first) / 1e3, "busyUs": busy / 1e3, "gapShare": 1 - busy / (last - first)}))
PY
}

# One process a kernel, for those that `check` did not bring to an end: an error that sticks to a process, or a kernel that hangs, hides the rest.
check_each() {
    local kernel wrong=0 last
    last=$(awk '/^(ok|FAIL) / { name = $2 } END { print name }' "$out/check.log")   # a hang may have come in one of its later shapes
    for kernel in $(cat "$here/kernels"); do
        if [ "$kernel" != "$last" ] && grep -qs "^ok   $kernel " "$out/check.log" && ! grep -qs "^FAIL $kernel " "$out/check.log"; then continue; fi
        timeout -s KILL 30 "$engine" kernels check --device "$device" --kernel "$kernel" >&2 || { echo "FAIL $kernel: status $?" >&2; wrong=1; }
    done
    return $wrong
}

# A sanitizer's findings lie beside the engine's output; the last of them are shown when there are any.
sanitize() { # TOOL
    compute-sanitizer --tool "$1" --error-exitcode 9 --log-file "$out/sanitizer-$1.txt" "$engine" kernels check --device "$device" --json && return 0
    grep '^=========' "$out/sanitizer-$1.txt" | tail -n 12 >&2
    return 1
}

measure() {
    local size='' steps=''
    device=cuda:0 out=$PWD/gpu-results minutes=28 parts=$all_parts longest=600
    while [ $# -gt 0 ]; do
        case $1 in
            --device) device=$2; shift 2 ;;
            --out) mkdir -p "$2"; out=$(cd "$2" && pwd); shift 2 ;;
            --size) size=$2; shift 2 ;;
            --steps) steps=$2; shift 2 ;;
            --minutes) minutes=$2; shift 2 ;;
            --parts) parts=$2; shift 2 ;;
            --limit) longest=$2; shift 2 ;;
            *) say "unknown option $1; there are --device, --out, --size, --steps, --minutes, --parts, --limit"; exit 2 ;;
        esac
    done
    local asked
    for asked in $parts; do
        case " $all_parts " in *" $asked "*) ;; *) say "there is no part '$asked'; there are $all_parts"; exit 2 ;; esac
    done
    mkdir -p "$out"
    engine=$here/engine/orion-engine
    [ -x "$engine" ] || { say "no engine in $here/engine; fix: run 'perf/gpu/run.sh pack' where the SDK is, and start from the folder it makes"; exit 3; }
    export DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1 ORION_CUBIN_CACHE=${ORION_CUBIN_CACHE:-$here/cubin}   # no ICU, perhaps no home
    software=
    [ "${device%%:*}" = cuda ] || software=1
    # What is trained, and in torch_side.py the same: sequences and tokens of a microbatch, microbatches of a step.
    printf 'preset: 8b\nlayers: 4\ncontext: 4096\n' >"$out/stage-8b.yaml"
    model_124m=(--model 124m --microbatch-size 16 --sequence 1024 --microbatches 1)
    model_1b=(--model 1b --microbatch-size 4 --sequence 2048 --microbatches 4)
    model_8b=(--model "$out/stage-8b.yaml" --microbatch-size 2 --sequence 4096 --microbatches 4)
    timed_steps=25
    if [ -n "$software" ]; then
        export ORION_SOFTCUDA=$here/softcuda
        say "$device is a REHEARSAL on the processor: its times say nothing about a card, and no record is kept of them"
        printf 'width: 64\nlayers: 2\nquery-heads: 2\nkv-heads: 1\nhead-width: 32\nfeed-forward: 96\ncontext: 64\nvocabulary: 256\n' >"$out/stage-8b.yaml"
        model_8b=(--model "$out/stage-8b.yaml" --microbatch-size 1 --sequence 32 --microbatches 2)
        model_124m=("${model_8b[@]}") model_1b=("${model_8b[@]}")
        timed_steps=7
    elif [ -z "${VIRTUAL_ENV:-}" ] && command -v python3 >/dev/null; then
        # NVRTC and cuBLASLt may come with the Python that holds PyTorch: its environment, and its wheels' folders wherever they lie (those of
        # CUDA 13 share nvidia/cu13/lib, those of CUDA 12 have nvidia/cuda_nvrtc/lib, nvidia/cublas/lib and so on)
        VIRTUAL_ENV=$(python3 -c 'import sys; print(sys.prefix)') && export VIRTUAL_ENV
        LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$(python3 -c '
import glob, sys
print(":".join(at for path in sys.path if path for at in sorted(glob.glob(path + "/nvidia/*/lib"))))') && export LD_LIBRARY_PATH
    fi
    size=${size:-$([ -n "$software" ] && echo 1 || echo 1024)}
    parity_steps=${steps:-$([ -n "$software" ] && echo 2 || echo 100)}
    # What an earlier call with other parts left in the same folder stays, and is gathered with it.
    for asked in $parts; do
        case $asked in
            train-*) rm -rf "${out:?}/$asked" ;;
            parity) rm -rf "$out/parity-cpu" "$out/parity-device" ;;
            trace) rm -rf "$out/trace-run" ;;
        esac
    done

    { date -u +%FT%TZ; cat "$here/commit"; uname -a; } >"$out/machine.txt"
    if command -v nvidia-smi >/dev/null; then
        timeout -s KILL 30 nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.memory,power.limit --format=csv >>"$out/machine.txt" || true
    else
        skip nvidia-smi 'not on this machine'
    fi

    local torch=
    if [ -n "$software" ]; then
        skip pytorch 'it is compared on a card'
    elif timeout -s KILL 90 python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
        torch=1
    else
        skip pytorch 'python3 with a torch that sees the card is not here'
    fi
    beside() { [ -z "$torch" ] || part "torch-$1" "$2" python3 "$here/torch_side.py" "${device##*:}" "$1"; }

    part doctor 30 "$engine" doctor --json
    part check 240 "$engine" kernels check --device "$device" --json
    case " ${failed[*]-} " in *" check "*) part check-each 240 check_each ;; esac
    part bench 180 "$engine" kernels bench --device "$device" --size "$size" --json
    part train-124m 90 timed train-124m "${model_124m[@]}"
    part train-stage-8b 120 timed train-stage-8b "${model_8b[@]}"
    beside 124m 180
    beside stage-8b 180
    part train-1b 120 timed train-1b "${model_1b[@]}"
    beside 1b 240
    part parity 150 parity
    beside kernels 150
    if [ -n "$software" ] || ! command -v nsys >/dev/null || ! command -v python3 >/dev/null; then
        skip trace "$([ -n "$software" ] && echo 'Nsight Systems watches NVIDIA cards' || echo 'nsys or python3 is not on this machine')"
    else
        part trace 120 trace
    fi
    if [ -n "$software" ]; then
        skip compute-sanitizer 'it watches NVIDIA cards; the software device makes the same checks itself'
    elif ! command -v compute-sanitizer >/dev/null; then
        skip compute-sanitizer 'not on this machine; fix: put the folder of the CUDA toolkit that has it into PATH'
    else
        local tool
        for tool in memcheck racecheck synccheck initcheck; do
            part "sanitizer-$tool" 180 sanitize "$tool"
        done
    fi

    gather
    [ ! -s "$out/summary.txt" ] || cat "$out/summary.txt" >&2
    tar -C "$out" -czf "$out/results.tar.gz" --exclude results.tar.gz --exclude '*.nsys-rep' --exclude '*.sqlite' --exclude checkpoints . || true
    say "results are in $out, all of them in $out/results.tar.gz"
    [ ${#passed[@]} = 0 ] || printf 'gpu: passed  %s\n' "${passed[@]}" >&2
    [ ${#skipped[@]} = 0 ] || printf 'gpu: SKIPPED %s\n' "${skipped[@]}" >&2
    [ ${#failed[@]} = 0 ] || { printf 'gpu: FAILED  %s\n' "${failed[@]}" >&2; exit 1; }
}

# What is known so far, written anew after every part: one line per kernel of the benchmark, per row of PyTorch and per model trained, with
# machine and commit; a summary beside it. A rehearsal's lines are called so.
gather() {
    local card commit
    command -v python3 >/dev/null || return 0
    card=$(timeout -s KILL 30 nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1) || true
    commit=$(cat "$here/commit")
    python3 - "$out" "${software:+rehearsal on }${card:-no card}" "$commit" "$(date -u +%F)" <<'PY' || say 'the results could not be gathered; the logs are there'
import json, pathlib, re, sys
out, card, commit, date = pathlib.Path(sys.argv[1]), *sys.argv[2:]
head = {"date": date, "commit": commit, "device": card}
shapes = {"124m": "B=16 T=1024 x1", "1b": "B=4 T=2048 x4", "stage-8b": "B=2 T=4096 x4"}
goals = {"124m": 0.40, "1b": 0.48, "stage-8b": 0.54}
records, summary, torch = [], [], {}

def lines(name):
    path = out / name
    for line in path.read_text().splitlines() if path.exists() else []:
        if line.startswith("{") and line.endswith("}"):
            yield json.loads(line)

bench, said = out / "bench.out", out / "bench.log"
if bench.exists() and bench.read_text().rstrip().endswith("}"):
    for row in json.loads(bench.read_text())["kernels"]:
        if "error" not in row:
            records.append({"scenario": "gpu.kernels." + row.pop("kernel")} | row)
elif said.exists():   # it was stopped: what it had said by then
    for name, shape, us, ratio, copy in re.findall(r"^(\w+) +(.*): ([\d.]+) us, [\d.]+ GB/s = (\d+) ?% of copy \(([\d.]+) GB/s\)", said.read_text(), re.M):
        records.append({"scenario": "gpu.kernels." + name, "shape": shape, "timeUsMedian": float(us), "ratio": float(ratio) / 100, "copyBytesPerSecond": float(copy) * 1e9})
for width in (32, 64, 128):   # backward as a whole, counted as others count it: 5 products of T^2*D, of which the kernels make 7
    parts = [row for row in records for part in ("delta", "gradient_kv", "gradient_q") if row["scenario"] == f"gpu.kernels.attention_{part}_d{width}"]
    if len(parts) == 3 and all("flops" in row for row in parts):
        us, product = sum(row["timeUsMedian"] for row in parts), max(row["flops"] for row in parts) / 4
        records.append({"scenario": f"gpu.kernels.attention_backward_d{width}", "shape": parts[1]["shape"], "timeUsMedian": us, "tflops": 5 * product / us / 1e6})
for name in ["parity", "trace", "torch-kernels"] + ["torch-" + model for model in shapes]:
    for row in lines(name + ".out"):
        records.append(row)
        if "model" in row:
            torch[row["model"], row["mode"]] = row
        if name == "parity":
            summary.append(f"parity over {row['steps']} steps: losses within {row['worstRelativeLossDifference']:.3%} of the CPU's (goal 0.5 %)")
        if name == "trace":
            summary.append(f"launch gaps: {row['gapShare']:.2%} of the step (goal below 2 %)")
for model, shape in shapes.items():
    steps = list(lines(f"train-{model}/metrics.jsonl"))[5:]
    if not steps:
        continue
    rates, mfus = ([step[key] for step in steps] for key in ("tokensPerSecond", "mfu"))
    rate = sorted(rates)[len(rates) // 2]
    row = {"scenario": "gpu.train-step", "shape": f"{model} {shape}", "tokensPerSecondSamples": rates, "tokensPerSecondMedian": rate}
    if None not in mfus:
        row["mfuMedian"] = sorted(mfus)[len(mfus) // 2]
    text = f"{model}: {rate:.0f} tokens/s" + (f", MFU {row['mfuMedian']:.1%} (goal {goals[model]:.0%})" if "mfuMedian" in row else "")
    for mode, kinds in (("eager", ["eager"]), ("compile", ["compile", "compile-cudnn"])):
        rows = [other for kind in kinds if (other := torch.get((model, kind)))]
        if rows:
            best = max(other["tokensPerSecondMedian"] for other in rows)
            row["ratioTo" + mode.title()] = rate / best
            text += f", {rate / best:.2f} x torch {mode}" + (" (goal 1.1)" if mode == "compile" else "")
        for other in rows if "mfuMedian" in row else []:   # one count of FLOP and one peak for both sides: the engine's
            other["mfuMedian"] = row["mfuMedian"] * other["tokensPerSecondMedian"] / rate
    records.append(row)
    summary.append(text)
(out / "records.jsonl").write_text("".join(json.dumps(head | row) + "\n" for row in records))
(out / "summary.txt").write_text("".join(line + "\n" for line in summary))
PY
}

case "${1:-help}" in
    pack) shift; pack "$@" ;;
    measure) shift; measure "$@" ;;
    parts) printf '%s\n' "$all_parts" ;;
    *) sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" ;;
esac
