// Links that are slower than compute, under virtual time: uplinks that codes, gradients and shares of many microbatches wait for.
//   a healthy one   costs time and nothing else: no suspicion, no removal, and only what a full peer turned away travels again
//   a dead one      is noticed as soon as on fast links, also when it dies with a code half way
using OrionNative.Engine.Simulation;
using OrionNative.Engine.Run;

namespace OrionNative.Simulation.Tests.Swarm;

public class SlowLinkTests(ITestOutputHelper output)
{
    // codes take 0.05 to 5 s of a sender's uplink where computes take 0.02 to 0.3; downlinks are one to ten times as fast
    static SwarmOptions Drawn(ulong seed)
    {
        var random = new SeededRandom(SeededRandom.Derive(seed, 501));
        int stages = 2 + random.NextBelow(3), replicas = 1 + random.NextBelow(3), microbatches = 4 + random.NextBelow(13);
        double up = 125_000 * random.NextBetween(1, 80), service = random.NextBetween(0.02, 0.3);
        double seconds = Math.Exp(random.NextBetween(Math.Log(0.05), Math.Log(5)));
        return new SwarmOptions
        {
            Seed = seed,
            Stages = stages,
            Replicas = replicas,
            Microbatches = microbatches,
            Steps = 4,
            FaultSeconds = 1,
            HealedSeconds = 36_000,
            ServiceSeconds = [.. Enumerable.Range(0, stages * replicas).Select(_ => service * random.NextBetween(0.7, 1.6))],
            RoundTripSeconds = random.NextBetween(0.002, 0.15),
            Links = new LinkRates(up, up * random.NextBetween(1, 10), (long)(up * seconds), (long)(up * random.NextBetween(0.1, 30))),
        };
    }

    [Fact]
    public void HealthyLinks_SlowerThanCompute_NobodyIsSuspectedOrRemovedAndOnlyTheFullTurnAway()
    {
        int seeds = Environment.GetEnvironmentVariable("ORION_LONG") == "1" ? 1000 : 40;
        long payloads = 0, again = 0;
        double longest = 0;
        for (ulong seed = 1; seed <= (ulong)seeds; seed++)
        {
            SwarmOptions options = Drawn(seed);
            SwarmOutcome outcome = SwarmSimulation.Run(options, null, out SwarmWorld world);
            string about = $"seed {seed}: {options.Stages} x {options.Replicas}, {options.Microbatches} microbatches, a code takes {options.Links!.CodeBytes / options.Links.UpBytesPerSecond:F2} s";
            Assert.True(outcome.IsSuccess, $"{about}: {outcome.Failure}");
            Assert.True(outcome.Probes[Probe.Suspected] == 0, $"{about}: {outcome.Probes[Probe.Suspected]} suspicions");
            Assert.True(world.Removals.Count == 0, $"{about}: {string.Join(", ", world.Removals)}");
            Assert.True(world.RepeatedPayloads <= outcome.Probes[Probe.Busy], $"{about}: {world.RepeatedPayloads} payloads travelled again, {outcome.Probes[Probe.Busy]} were turned away for want of a slot");
            (payloads, again) = (payloads + world.Payloads, again + world.RepeatedPayloads);
            longest = Math.Max(longest, world.Now.Seconds / options.Steps);
        }
        output.WriteLine($"{seeds} seeds: {payloads} payloads, {again} travelled again; steps of up to {longest:F0} s");
        Assert.True(again <= payloads / 100, $"{again} of {payloads} payloads travelled again");
    }

    [Theory]
    [InlineData((int)FaultKinds.Hang)]
    [InlineData((int)FaultKinds.BlackholeOut)]
    [InlineData((int)FaultKinds.BlackholeIn)]
    public void PeerLost_WhileCodesTakeASecond_NoticedWithinThreeSeconds(int fault)
    {
        var delays = new List<double>();
        for (ulong seed = 1; seed <= 30; seed++)
        {
            int peer = 1 + (int)seed % 6;
            double at = 9.03 + seed * 0.57;
            var options = new SwarmOptions
            {
                Seed = seed,
                Stages = 3,
                Replicas = 2,
                Microbatches = 24,
                Steps = 3,
                FaultSeconds = 60,
                HealedSeconds = 600,
                ServiceSeconds = [.. Enumerable.Repeat(0.2, 6)],
                RoundTripSeconds = 0.05,
                Links = new LinkRates(625_000, 5_000_000, 625_000, 2_500_000),
                Script = [(at, (FaultKinds)fault, peer)],
            };
            SwarmOutcome outcome = SwarmSimulation.Run(options, null, out SwarmWorld world);
            Assert.True(outcome.IsSuccess, $"seed {seed}: {outcome.Failure}");
            if (world.FaultTimes[0].InFlight == 0)
                continue;
            // one that hears nobody and is sent nothing says so itself, and is removed
            double[] noticed = [.. world.Suspicions.Where(s => s.Of == peer).Select(s => s.Seconds), .. world.Removals.Where(r => r.Peer == peer).Select(r => r.Seconds)];
            Assert.True(noticed.Length > 0, $"seed {seed}: nobody notices {(FaultKinds)fault} of peer {peer} (stage {world.FaultTimes[0].Stage}) at {at:F2} s");
            delays.Add(noticed.Min() - at);
        }
        output.WriteLine($"{(FaultKinds)fault}: noticed after {delays.Min():F3} to {delays.Max():F3} s ({delays.Count} faults)");
        Assert.True(delays.Count >= 10, $"only {delays.Count} of 30 faults hit a working peer");
        Assert.All(delays, delay => Assert.InRange(delay, 0, 3));
    }
}
