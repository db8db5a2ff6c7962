"""Golden sample order, from the equations alone: cycle-walking Feistel, six rounds, SplitMix64 finalizer.

Run `python3 tests/golden/sample_order.py > tests/golden/sample_order.txt` to write it again.
Each line: seed sampleCount step index sample, with three samples a step.
"""

M = (1 << 64) - 1


def mix(x):
    x = (x + 0x9E3779B97F4A7C15) & M
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & M
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & M
    return x ^ (x >> 31)


def sample(seed, count, step, index):
    drawn = step * 3 + index
    key = mix((seed + mix(drawn // count)) & M)
    half = max(1, ((count - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    value = drawn % count
    while True:
        left, right = value >> half, value & mask
        for r in range(1, 7):
            left, right = right, left ^ (mix(((key + r * 0xD1B54A32D192ED03) & M) ^ right) & mask)
        value = left << half | right
        if value < count:
            return value


print("# seed sampleCount step index sample (three samples a step); written by sample_order.py")
for seed in (0, 1, 42, 2**64 - 1):
    for count in (1, 2, 7, 1000, 123456789, 2**40 + 1):
        for step, index in ((0, 0), (5, 2), (400, 1)):
            print(seed, count, step, index, sample(seed, count, step, index))
