// Measurements, each beside its peer. One suite a file; `./orion perf` lists them, `./orion perf NAME …` runs one.
using OrionNative.Bench;
using OrionNative.Bench.Net;
using OrionNative.Engine.Run;

Suite[] suites =
[
    new("peaks", "[THREADS]", "ceilings of this machine: fused multiply-adds and memory copies", PeaksSuite.Run),
    new("gemm", "[THREADS [SHAPE]]", "matrix products against OpenBLAS and the multiply-add peak", GemmSuite.Run),
    new("attention", "[THREADS]", "attention forward and backward against the multiply-add peak", AttentionSuite.Run),
    new("elementwise", "[THREADS [OPERATION]]", "memory-bound operations against the copy bandwidth", ElementwiseSuite.Run),
    new("quic", "[oneway|round|control|connect] [OPTIONS]", "QUIC over loopback: goodput, CPU per gigabyte, round trip", QuicBench.Run),
    new("train-step", "[SAMPLES [THREADS [profile]]]", "a training step of preset 30m beside eager PyTorch", TrainStepSuite.Run),
    new("swarm", "[efficiency|long-steps|cut]", "what emulated links and the cut into stages cost", SwarmSuite.Run),
    new("tokenizer", "TEXTS", "BPE: training 4096 ids on the given texts, and encoding them", TokenizerSuite.Run),
    new("start", "TEXT", "process start to first training step of tiny, and memory against its plan", StartSuite.Run),
    new("boundaries", "TRAIN VALID [SEEDS [OPTIMIZER [IDS [ARMS [STEPS]]]]]", "validation loss with codes of each kind between stages, beside controls (hours)", BoundariesSuite.Run),
    new("net-digest", "", "BLAKE3 beside SHA-256, one core", _ => NetDigest.Run()),
    new("net-loopback", "", "8 MiB one way, 2.2 MiB there and back: both links beside raw TCP and SslStream", _ => NetLoopback.Run()),
    new("net-wan", "[LOSS%|PROFILE]...", "QUIC at 856 Mbit/s, 60 ms with 0 / 0.1 / 1 % loss", NetWan.RunGoodput),
    new("net-share", "[flows|control|first-byte]", "QUIC: two flows on one link, control during bulk, connect to first byte", NetShare.Run),
];
Suite? chosen = args.Length > 0 ? Array.Find(suites, suite => suite.Name == args[0]) : null;
if (chosen != null)
{
    try
    {
        return chosen.Run(args[1..]);
    }
    catch (Exception error) when (error is FormatException or ArgumentException or FileNotFoundException)
    {
        Console.Error.WriteLine($"{chosen.Name}: {error.Message}\nusage: ./orion perf {chosen.Name} {chosen.Arguments}");
        return 2;
    }
}

bool isHelp = args is [] or ["-h" or "--help" or "help"];
TextWriter to = isHelp ? Console.Out : Console.Error;
to.WriteLine(isHelp
    ? "./orion perf SUITE [ARGUMENTS]; with ORION_RECORD=1 the result is appended to perf/records (perf/README.md). Suites:"
    : $"no suite is called '{args[0]}'{NearestName.Hint(args[0], suites.Select(suite => suite.Name))}; there are:");
foreach (Suite suite in suites)
{
    to.WriteLine($"  {suite.Name + " " + suite.Arguments}\n      {suite.Description}");
}

return isHelp ? 0 : 2;
