// Measurements, each beside its peer. One suite a file; `./orion perf` lists them, `./orion perf NAME …` runs one.
using OrionNative.Bench;
using OrionNative.Bench.Net;

Suite[] suites =
[
    new("peaks", "ceilings of this machine: fused multiply-adds and memory copies", PeaksSuite.Run),
    new("gemm", "matrix products against OpenBLAS and the multiply-add peak", GemmSuite.Run),
    new("attention", "attention forward and backward against the multiply-add peak", AttentionSuite.Run),
    new("elementwise", "memory-bound operations against the copy bandwidth", ElementwiseSuite.Run),
    new("quic", "QUIC over loopback: goodput, CPU per gigabyte, round trip", QuicBench.Run),
    new("train-step", "a training step of preset 30m beside eager PyTorch", TrainStepSuite.Run),
    new("swarm", "what emulated links and the cut into stages cost; or one of efficiency, cut", SwarmSuite.Run),
    new("tokenizer", "BPE: training 4096 ids on the given texts, and encoding them", TokenizerSuite.Run),
    new("start", "process start to first training step of tiny, and memory against its plan", StartSuite.Run),
    new("boundaries", "validation loss with codes of each kind between stages, beside controls (hours)", BoundariesSuite.Run),
    new("net-digest", "BLAKE3 beside SHA-256, one core", _ => NetDigest.Run()),
    new("net-loopback", "8 MiB one way, 2.2 MiB there and back: both links beside raw TCP and SslStream", _ => NetLoopback.Run()),
    new("net-wan", "QUIC at 856 Mbit/s, 60 ms with 0 / 0.1 / 1 % loss; or the percentages and profiles given", NetWan.RunGoodput),
    new("net-share", "QUIC: two flows on one link, control during bulk, connect to first byte; or one of flows, control, first-byte", NetShare.Run),
];
Suite? chosen = args.Length > 0 ? Array.Find(suites, suite => suite.Name == args[0]) : null;
if (chosen != null)
{
    return chosen.Run(args[1..]);
}

Console.WriteLine(args.Length > 0 ? $"no suite is called '{args[0]}'; there are:" : "suites:");
foreach (Suite suite in suites)
{
    Console.WriteLine($"  {suite.Name,-12} {suite.Description}");
}

return args.Length > 0 ? 2 : 0;
