#!/usr/bin/env bash
# Everything that a GPU can tell about this project, in one command, on a machine that needs neither .NET nor network.
#   perf/gpu/run.sh pack                                   here: publishes the engine for linux-x64, self-contained, into build/gpu
#   build/gpu/run.sh measure --device cuda:0 [--out DIR]   there: checks, times, sanitizes, trains, compares with PyTorch
#   build/gpu/run.sh measure --device softcuda:0           a rehearsal anywhere; what the machine lacks is skipped aloud
# Results go into --out (default gpu-results): logs, JSON per part, and records.jsonl, whose lines belong into perf/records/gpu.jsonl.
# Ends with 1 when a part failed; a skipped part is not a failure, but it is named at the end.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
skipped=() failed=() passed=()

say() { printf 'gpu: %s\n' "$*" >&2; }
skip() { say "SKIPPED $1: $2"; skipped+=("$1: $2"); }

# part NAME COMMAND...: runs it with its output in out/NAME.log; the last lines are shown when it fails
part() {
    local name=$1; shift
    local began=$SECONDS
    say "$name ..."
    if "$@" >"$out/$name.out" 2>"$out/$name.log"; then
        passed+=("$name ($((SECONDS - began)) s)")
    else
        local status=$?
        tail -n 15 "$out/$name.log" >&2
        say "FAILED $name with status $status; all of it is in $out/$name.log"
        failed+=("$name")
    fi
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
    cat "$root"/docs/*.md "$root"/docs/decisions/*.md "$root/README.md" >"$to/data/text.txt"
    git -C "$root" rev-parse HEAD >"$to/commit" 2>/dev/null || echo unknown >"$to/commit"
    if compgen -G "$root/build/native/lib*_soft.so" >/dev/null; then
        mkdir -p "$to/softcuda"
        cp "$root"/build/native/lib*_soft.so "$to/softcuda/"
    else
        skip softcuda 'build/native is not built, so the package cannot rehearse; fix: cmake -S . -B build/native && cmake --build build/native'
    fi
    say "packed into $to: $(du -sh "$to" | cut -f 1); carry that folder"
}

# metric FILE KEY: the values of a key of a JSON-lines file, one a line
metric() { grep -o "\"$2\":[-0-9.eE+]*" "$1" | cut -d : -f 2; }

train() { # DEVICE STEPS NAME [FLAGS...]
    local on=$1 steps=$2 name=$3; shift 3
    "$engine" train --data "$here/data/text.txt" --device "$on" --steps "$steps" --seed 1 --checkpoint-every 0 --out "$out/$name" "$@"
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

measure() {
    local device=cuda:0 size='' steps=''
    out=$PWD/gpu-results
    while [ $# -gt 0 ]; do
        case $1 in
            --device) device=$2; shift 2 ;;
            --out) mkdir -p "$2"; out=$(cd "$2" && pwd); shift 2 ;;
            --size) size=$2; shift 2 ;;
            --steps) steps=$2; shift 2 ;;
            *) say "unknown option $1; there are --device, --out, --size, --steps"; exit 2 ;;
        esac
    done
    mkdir -p "$out"
    engine=$here/engine/orion-engine
    [ -x "$engine" ] || { say "no engine in $here/engine; fix: run 'perf/gpu/run.sh pack' where the SDK is, and start from the folder it makes"; exit 3; }
    local software=
    [ "${device%%:*}" = cuda ] || software=1
    if [ -n "$software" ]; then
        export ORION_SOFTCUDA=$here/softcuda
        say "$device is a REHEARSAL on the processor: its times say nothing about a card, and no record is kept of them"
    fi
    size=${size:-$([ -n "$software" ] && echo 1 || echo 1024)}
    parity_steps=${steps:-$([ -n "$software" ] && echo 2 || echo 100)}
    export DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1

    { date -u +%FT%TZ; cat "$here/commit"; uname -a; } >"$out/machine.txt"
    if command -v nvidia-smi >/dev/null; then
        nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.memory,power.limit --format=csv >>"$out/machine.txt"
    else
        skip nvidia-smi 'not on this machine'
    fi

    part doctor "$engine" doctor --json
    part check "$engine" kernels check --device "$device" --json
    part bench "$engine" kernels bench --device "$device" --size "$size" --json
    if [ -n "$software" ]; then
        skip compute-sanitizer 'it watches NVIDIA cards; the software device makes the same checks itself'
    elif ! command -v compute-sanitizer >/dev/null; then
        skip compute-sanitizer 'not on this machine; fix: put the folder of the CUDA toolkit that has it into PATH'
    else
        local tool
        for tool in memcheck racecheck initcheck synccheck; do
            part "sanitizer-$tool" compute-sanitizer --tool "$tool" --error-exitcode 9 "$engine" kernels check --device "$device" --json
        done
    fi
    part parity parity

    if [ -n "$software" ]; then
        skip training 'a timed training step of 124m takes too long on the processor'
        skip pytorch 'it is compared on a card'
    else
        # The same model, tokens a step and kind of data as torch_side.py trains.
        part training train "$device" 30 training --model 124m --microbatch-size 16 --sequence 1024 --warmup 2
        if python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
            part pytorch python3 "$here/torch_side.py" "${device##*:}"
        else
            skip pytorch 'python3 with a torch that sees the card is not here'
        fi
        gather
    fi

    say "results are in $out"
    [ ${#passed[@]} = 0 ] || printf 'gpu: passed  %s\n' "${passed[@]}" >&2
    [ ${#skipped[@]} = 0 ] || printf 'gpu: SKIPPED %s\n' "${skipped[@]}" >&2
    [ ${#failed[@]} = 0 ] || { printf 'gpu: FAILED  %s\n' "${failed[@]}" >&2; exit 1; }
}

# One line per kernel of the benchmark, per row of PyTorch, and for training, with machine and commit.
gather() {
    local card commit
    card=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1)
    commit=$(cat "$here/commit")
    python3 - "$out" "${card:-unknown}" "$commit" "$(date -u +%F)" <<'PY' || failed+=(gather)
import json, pathlib, sys
out, card, commit, date = pathlib.Path(sys.argv[1]), *sys.argv[2:]
head = {"date": date, "commit": commit, "device": card}
with open(out / "records.jsonl", "w") as records:
    bench = out / "bench.out"
    for row in json.loads(bench.read_text())["kernels"] if bench.exists() and bench.stat().st_size else []:
        records.write(json.dumps(head | {"scenario": "gpu.kernels." + row.pop("kernel")} | row) + "\n")
    for name in ("parity.out", "pytorch.out"):
        for line in (out / name).read_text().splitlines() if (out / name).exists() else []:
            if line.startswith("{"):
                records.write(json.dumps(head | json.loads(line)) + "\n")
    steps = out / "training" / "metrics.jsonl"
    if steps.exists():
        rates = [json.loads(line)["tokensPerSecond"] for line in steps.read_text().splitlines()][5:]
        records.write(json.dumps(head | {"scenario": "gpu.train-step", "shape": "124m B=16 T=1024", "tokensPerSecondSamples": rates,
                                         "tokensPerSecondMedian": sorted(rates)[len(rates) // 2]}) + "\n")
PY
}

case "${1:-help}" in
    pack) shift; pack "$@" ;;
    measure) shift; measure "$@" ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" ;;
esac
