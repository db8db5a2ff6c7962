#!/usr/bin/env bash
# The machine code of a kernel, which needs no GPU: its accesses to memory, and the instructions of each loop.
#   perf/gpu/sass.sh KERNEL [ARCH]       such as attention_forward_d128 sm_90; the whole code goes to build/sass/KERNEL.ARCH.sass
# Compiles every source for ARCH (about half a minute) and needs nvdisasm, of CUDA 11.8 or later. What to count: docs/kernel-bounds.md.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,4s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2; }
kernel=$1 arch=${2:-sm_90}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
if ! command -v nvdisasm >/dev/null; then
    echo 'sass.sh: skipped: no nvdisasm here; fix: put it on PATH (CUDA toolkit; on Debian the non-free package nvidia-cuda-toolkit, unpacked is enough)' >&2
    exit 0
fi

w=$(mktemp -d)
trap 'rm -rf "$w"' EXIT
ORION_CUBIN_CACHE=$w "$root/orion" kernels list --arch "$arch" >"$w/list" || { cat "$w/list" >&2; exit 1; }
file=$(grep -l "Compiling entry function '$kernel'" "$w"/*.cubin | head -n 1) ||
    { echo "sass.sh: no kernel $kernel; there are:" >&2; awk 'NR > 2 && NF > 3 { print "  " $1 }' "$w/list" >&2; exit 2; }
# A cached kernel is digest | length of the log | log | cubin.
log=$(od -An -tu4 -j32 -N4 "$file" | tr -d ' ')
tail -c +$((32 + 4 + log + 1)) "$file" >"$w/cubin"
mkdir -p "$root/build/sass"
out=$root/build/sass/$kernel.$arch.sass
nvdisasm -c "$w/cubin" | awk -v section=".text.$kernel:" '/^\.text\./ { on = $1 == section } on' >"$out"

awk '
function name(text,   words) { sub(/^@!?U?P[0-9T]+ +/, "", text); split(text, words, /[ ;]/); return words[1] }
/^\.L_x_[0-9]+:/ { label = $1; sub(/:.*/, "", label); at[label] = n; next }
match($0, /\/\*[0-9a-f]+\*\/ +/) {
    text = substr($0, RSTART + RLENGTH)
    op[n] = name(text)
    if (op[n] ~ /^(LDG|STG|LDL|STL|LDGSTS|RED|ATOMG)/) memory[op[n]]++
    if (op[n] == "BRA" && match(text, /\.L_x_[0-9]+/)) target[n] = substr(text, RSTART, RLENGTH)
    n++
}
END {
    printf "%d instructions;", n
    for (o in memory) printf " %s:%d", o, memory[o]
    print ""
    for (i = 0; i < n; i++) {
        if (!(i in target) || !(target[i] in at) || at[target[i]] >= i) continue
        delete count
        for (j = at[target[i]]; j <= i; j++) { o = op[j]; if (o !~ /^(LD|ST|MUFU|HMMA|BAR)/) sub(/\..*/, "", o); count[o]++ }
        printf "loop of %d:", i - at[target[i]] + 1
        while (1) { best = ""; for (o in count) if (best == "" || count[o] > count[best]) best = o; if (best == "") break; printf " %s:%d", best, count[best]; delete count[best] }
        print ""
    }
}' "$out"
echo "the code: ${out#"$root"/}"
