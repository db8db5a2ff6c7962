#!/usr/bin/env bash
# Everything that a GPU can tell about this project, in one command and one half hour, on a machine that needs neither .NET nor network.
#   perf/gpu/run.sh pack                                   here: the engine for linux-x64, self-contained, in build/gpu and as build/gpu.tar.gz
#   build/gpu/run.sh measure --device cuda:0 [--out DIR]   there: checks, times, trains, compares with PyTorch, traces, sanitizes
#   build/gpu/run.sh measure --device softcuda:0           a rehearsal anywhere; what the machine lacks is skipped aloud
#   perf/gpu/run.sh status DIR                             here: what passed and was measured into docs/gpu-status.md
# Parts run in order of worth, each with a limit of its own; one that fails or hangs stops nobody. Where a command may last ten minutes only: the
# same command three times, with --minutes 9 and one --out. A part that ended is not run again, one that was cut off is (once); a part that
# does not fit into what is left waits for the next call while a shorter one runs. --out (default gpu-results) holds logs, JSON per part, journal.txt,
# summary.md, records.jsonl, whose lines belong into perf/records/gpu.jsonl, and all of it in results.tar.gz; --bring DIR gets the last three anew
# after every part. --parts 'check bench': only these.   --limit N: seconds that no part may pass.   --again: also parts that ended before.
# Ends with 1 when a part of this call failed; a skipped part is no failure. What is missing is named at the end of the summary.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
all_parts='doctor check check-each bench train-124m torch-124m train-1b train-stage-8b torch-stage-8b parity trace torch-1b torch-kernels sanitizer-memcheck sanitizer-racecheck sanitizer-synccheck sanitizer-initcheck'
skipped=() failed=() passed=() waiting=()

say() { printf 'gpu: %s\n' "$*" >&2; }
skip() { say "SKIPPED $1: $2"; skipped+=("$1: $2"); }
left() { echo $((60 * minutes - SECONDS)); }

# note PART STATE...: a line of the journal, which is only ever added to: what it says outlives this process
note() { printf '%s\n' "$*" >>"$out/journal.txt"; }
begun() { awk -v part="$1" '$1 == part { n = $2 == "began" ? n + 1 : $2 == "skipped" ? 0 : n } END { print n + 0 }' "$out/journal.txt"; }
ended() { [ -z "$again" ] && grep -qsE "^$1 (passed|failed)" "$out/journal.txt"; }
wanted() { case " $parts " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }

# without PART WHY: left out, as this machine lacks something; another call may find it
without() {
    if ! wanted "$1" || ended "$1"; then return 0; fi
    skip "$1" "$2"
    note "$1" skipped "$2"
}

# part NAME LIMIT NEED COMMAND...: runs it in a process group of its own, with its output in out/NAME.out and .log, for LIMIT seconds at most.
# NEED is what it takes on an H100: with less left it waits for the next call. A command that ends with 77 lacks something, which out/NAME.why names.
part() {
    local name=$1 limit=$2 need=$3 began=$SECONDS status=0 runner watcher
    shift 3
    if ! wanted "$name"; then return 0; fi
    if ended "$name"; then say "$name ended in an earlier call"; return 0; fi
    if [ "$(begun "$name")" -ge 2 ] && [ -z "$again" ]; then
        say "FAILED $name: cut off twice"
        note "$name" failed 'cut off twice'
        failed+=("$name")
        return 0
    fi
    if [ "$limit" -gt "$longest" ]; then limit=$longest; fi
    if [ "$need" -gt "$limit" ] || [ -n "$software" ]; then need=$(((limit + 9) / 10)); fi
    if [ "$(left)" -lt "$need" ]; then
        say "$name takes about $need s, of which $(left) are left: for the next call"
        waiting+=("$name")
        return 0
    fi
    local own=$limit
    if [ "$limit" -gt "$(left)" ]; then limit=$(left); fi
    say "$name (at most $limit s) ..."
    note "$name" began
    rm -f "$out/$name.why"
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
        note "$name" passed "$((SECONDS - began)) s"
        passed+=("$name ($((SECONDS - began)) s)")
    elif [ "$status" = 77 ]; then
        without "$name" "$(cat "$out/$name.why" 2>/dev/null || echo 'the machine lacks something')"
    elif [ "$limit" -lt "$own" ] && [ $((SECONDS - began)) -ge "$limit" ]; then
        say "$name was cut off by the end of this call"
        note "$name" cut "off after $limit s"
        waiting+=("$name")
    else
        tail -n 15 "$out/$name.log" >&2
        say "FAILED $name with status $status; all of it is in $out/$name.log"
        note "$name" failed "with status $status after $((SECONDS - began)) s"
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
    cp "$here/run.sh" "$here/torch_side.py" "$here/gather.py" "$to/"
    ${CC:-gcc} -std=c11 -O2 -Wall -Wextra -Wshadow -Werror -shared -fPIC -o "$to/cupti_trace.so" "$here/cupti_trace.c" -ldl
    mkdir -p "$to/ssl"   # .NET's SHA-256 needs OpenSSL, which a bare machine may lack
    ldconfig -p | awk '/x86-64/ && /lib(ssl|crypto)\.so\.3 / { print $NF }' | xargs -r -I '{}' cp -L '{}' "$to/ssl/"
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
    rm -rf "${out:?}/$name"
    (in_place=exec; train "$device" 100000 "$name" --warmup 2 --schedule constant "$@") &   # so that the kill below meets the engine
    trainer=$!
    while [ "$lines" -lt "$timed_steps" ] && kill -0 "$trainer" 2>/dev/null; do
        sleep 0.2
        if [ -f "$out/$name/metrics.jsonl" ]; then lines=$(wc -l <"$out/$name/metrics.jsonl"); fi
    done
    kill -KILL "$trainer" 2>/dev/null || true
    wait "$trainer" 2>/dev/null || true
    [ "$lines" -ge "$timed_steps" ]
}

# The largest difference of the losses of two runs, relative; more than 0.5 % in a hundred steps is not bf16's rounding (2^-8 a value,
# averaged over the tokens of a batch).
parity() {
    rm -rf "$out/parity-cpu" "$out/parity-device"
    train cpu "$parity_steps" parity-cpu
    train "$device" "$parity_steps" parity-device
    paste <(metric "$out/parity-cpu/metrics.jsonl" loss) <(metric "$out/parity-device/metrics.jsonl" loss) | awk -v steps="$parity_steps" '
        { d = ($1 > $2 ? $1 - $2 : $2 - $1) / $1; if (d > worst) worst = d; rows++ }
        END { printf "{\"scenario\":\"gpu.parity\",\"steps\":%d,\"worstRelativeLossDifference\":%g}\n", rows, worst; exit !(rows == steps && worst < 0.005) }'
}

# Where the card idles, and where the host waits: kernels, copies and driver calls over the last steps of a run. By CUPTI, which PyTorch's wheels bring,
# through a library that the driver loads (cupti_trace.c); without it by Nsight Systems, read from its SQLite export, whose tables stay (names of
# reports and columns of `nsys stats` do not). Times of traced nodes are a little longer than untraced ones: the share is an upper bound.
trace() {
    local steps=30 names at cupti=
    names=$(printf '%s' "${LD_LIBRARY_PATH:-}" | tr : '\n'; printf '\n%s\n' "${CUDA_PATH:-/usr/local/cuda}/extras/CUPTI/lib64" /usr/local/cuda/extras/CUPTI/lib64)
    while read -r at; do
        if [ -z "$cupti" ]; then cupti=$(compgen -G "$at/libcupti.so.1[23]" | tail -n 1) || true; fi
    done <<<"$names"
    if [ -n "$cupti" ]; then
        rm -rf "$out/trace-run"
        if CUDA_INJECTION64_PATH=$here/cupti_trace.so ORION_CUPTI=$cupti ORION_TRACE=$out/trace.txt train "$device" $steps trace-run "${model_124m[@]}" >&2 &&
            python3 "$here/gather.py" gaps "$out/trace.txt" '124m B=16 T=1024' $steps; then return 0; fi
        echo "CUPTI ($cupti) saw nothing; Nsight Systems is tried" >&2
    fi
    if ! command -v nsys >/dev/null; then
        echo "no trace: ${cupti:-no libcupti.so.13 or .12 in LD_LIBRARY_PATH}, and no nsys in PATH" | tee "$out/trace.why" >&2
        return 77
    fi
    rm -rf "$out/trace-run"
    nsys profile --trace cuda --cuda-graph-trace node --sample none --cpuctxsw none --force-overwrite true --output "$out/trace" \
        "$engine" train --data "$here/data/text.txt" --device "$device" --steps $steps --seed 1 --checkpoint-every 0 --out "$out/trace-run" "${model_124m[@]}" >&2
    if ! nsys export --type sqlite --force-overwrite true --output "$out/trace.sqlite" "$out/trace.nsys-rep" >&2; then
        echo 'nsys made no report that it could export' >"$out/trace.why"
        return 77
    fi
    python3 "$here/gather.py" gaps "$out/trace.sqlite" '124m B=16 T=1024' $steps
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
    if grep -qsiE 'device not supported|not supported on this|unable to initialize' "$out/sanitizer-$1.txt" "$out/sanitizer-$1.log"; then
        echo 'compute-sanitizer refuses this device' >"$out/sanitizer-$1.why"
        return 77
    fi
    grep '^=========' "$out/sanitizer-$1.txt" | tail -n 12 >&2
    return 1
}

measure() {
    local size='' steps='' again='' bring='' software='' torch='' card asked
    device=cuda:0 out=$PWD/gpu-results minutes=28 parts=$all_parts longest=600
    while [ $# -gt 0 ]; do
        case $1 in
            --device) device=$2; shift 2 ;;
            --out) mkdir -p "$2"; out=$(cd "$2" && pwd); shift 2 ;;
            --bring) mkdir -p "$2"; bring=$(cd "$2" && pwd); shift 2 ;;
            --size) size=$2; shift 2 ;;
            --steps) steps=$2; shift 2 ;;
            --minutes) minutes=$2; shift 2 ;;
            --parts) parts=$2; shift 2 ;;
            --limit) longest=$2; shift 2 ;;
            --again) again=1; shift ;;
            *) say "unknown option $1; there are --device, --out, --bring, --size, --steps, --minutes, --parts, --limit, --again"; exit 2 ;;
        esac
    done
    for asked in $parts; do
        case " $all_parts " in *" $asked "*) ;; *) say "there is no part '$asked'; there are $all_parts"; exit 2 ;; esac
    done
    mkdir -p "$out"
    touch "$out/journal.txt"
    engine=$here/engine/orion-engine
    [ -x "$engine" ] || { say "no engine in $here/engine; fix: run 'perf/gpu/run.sh pack' where the SDK is, and start from the folder it makes"; exit 3; }
    export DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1 ORION_CUBIN_CACHE=${ORION_CUBIN_CACHE:-$here/cubin}   # no ICU, perhaps no home
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
    elif command -v python3 >/dev/null; then
        # NVRTC and cuBLASLt may come with the Python that holds PyTorch: its environment, and its wheels' folders wherever they lie (those of
        # CUDA 13 share nvidia/cu13/lib, those of CUDA 12 have nvidia/cuda_nvrtc/lib, nvidia/cublas/lib and so on)
        export VIRTUAL_ENV=${VIRTUAL_ENV:-$(python3 -c 'import sys; print(sys.prefix)')}
        LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$(python3 -c '
import glob, sys
print(":".join(at for path in sys.path if path for at in sorted(glob.glob(path + "/nvidia/*/lib"))))') && export LD_LIBRARY_PATH
    fi
    PATH=$PATH:${CUDA_PATH:-/usr/local/cuda}/bin:${CUDA_PATH:-/usr/local/cuda}/compute-sanitizer
    case $(ldconfig -p 2>/dev/null || true) in
        *libssl.so.3*|*libssl.so.1.1*) ;;
        *) export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$here/ssl ;;
    esac
    size=${size:-$([ -n "$software" ] && echo 1 || echo 1024)}
    parity_steps=${steps:-$([ -n "$software" ] && echo 2 || echo 100)}
    { date -u +%FT%TZ; cat "$here/commit"; uname -a; } >>"$out/machine.txt"
    card='no card'
    if command -v nvidia-smi >/dev/null; then
        card=$(timeout -s KILL 30 nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1) || true
        timeout -s KILL 30 nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.memory,power.limit --format=csv >>"$out/machine.txt" || true
    else
        skip nvidia-smi 'not on this machine'
    fi

    if [ -z "$software" ] && timeout -s KILL 90 python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then torch=1; fi
    beside() { # MODEL LIMIT NEED
        if [ -n "$torch" ]; then
            part "torch-$1" "$2" "$3" env PYTHONUNBUFFERED=1 python3 "$here/torch_side.py" "${device##*:}" "$1"
        else
            without "torch-$1" "$([ -n "$software" ] && echo 'PyTorch is compared on a card' || echo 'python3 with a torch that sees the card is not here')"
        fi
    }

    gather
    part doctor 30 5 eval '"$engine" doctor --json || [ $? = 3 ]'   # 3: something is missing, such as QUIC, which nothing here needs
    part check 240 60 "$engine" kernels check --device "$device" --json
    if grep -qs '^check failed' "$out/journal.txt"; then part check-each 240 60 check_each; fi
    part bench 240 100 "$engine" kernels bench --device "$device" --size "$size" --json
    part train-124m 90 20 timed train-124m "${model_124m[@]}"
    beside 124m 240 110
    part train-1b 120 50 timed train-1b "${model_1b[@]}"
    part train-stage-8b 120 50 timed train-stage-8b "${model_8b[@]}"
    beside stage-8b 240 90
    part parity 200 60 parity
    if [ -n "$software" ]; then without trace 'CUPTI and Nsight Systems watch NVIDIA cards'; else part trace 120 30 trace; fi
    beside 1b 300 150
    beside kernels 150 40
    local tool
    for tool in memcheck racecheck synccheck initcheck; do
        if [ -n "$software" ]; then
            without "sanitizer-$tool" 'compute-sanitizer watches NVIDIA cards; the software device makes the same checks itself'
        elif ! command -v compute-sanitizer >/dev/null; then
            without "sanitizer-$tool" 'compute-sanitizer is not on this machine; fix: put the folder of the CUDA toolkit that has it into PATH'
        else
            part "sanitizer-$tool" 240 60 sanitize "$tool"
        fi
    done

    gather
    [ ! -s "$out/summary.md" ] || cat "$out/summary.md" >&2
    say "results are in $out, all of them in $out/results.tar.gz"
    [ ${#passed[@]} = 0 ] || printf 'gpu: passed  %s\n' "${passed[@]}" >&2
    [ ${#skipped[@]} = 0 ] || printf 'gpu: SKIPPED %s\n' "${skipped[@]}" >&2
    [ ${#waiting[@]} = 0 ] || printf 'gpu: WAITS   %s\n' "${waiting[@]}" >&2
    [ ${#failed[@]} = 0 ] || { printf 'gpu: FAILED  %s\n' "${failed[@]}" >&2; exit 1; }
}

# What is known so far, written anew after every part, so that a call that is killed leaves all that came before. A rehearsal's lines are called so.
gather() {
    if command -v python3 >/dev/null; then
        python3 "$here/gather.py" results "$out" "${software:+rehearsal on }${card:-a card}" "$(cat "$here/commit")" "$(date -u +%F)" $all_parts ||
            say 'the results could not be gathered; the logs are there'
    fi
    tar -C "$out" -czf "$out.tar.gz.part" --exclude results.tar.gz --exclude '*.nsys-rep' --exclude '*.sqlite' --exclude checkpoints --exclude .orion-cache . || true
    mv "$out.tar.gz.part" "$out/results.tar.gz"
    [ -z "$bring" ] || cp "$out"/{summary.md,records.jsonl,results.tar.gz} "$bring/" 2>/dev/null || true
}

case "${1:-help}" in
    pack) shift; pack "$@" ;;
    measure) shift; measure "$@" ;;
    status) shift; python3 "$here/gather.py" status "${1:?status needs the folder of the results}" "$here/../../docs/gpu-status.md" ;;
    parts) printf '%s\n' "$all_parts" ;;
    *) sed -n '2,13s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" ;;
esac
