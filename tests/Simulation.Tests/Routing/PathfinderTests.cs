// The choice itself: probabilities follow the formula in the header.
using OrionNative.Engine.Control;
using OrionNative.Engine.Routing;
using OrionNative.Engine.Run;

namespace OrionNative.Simulation.Tests.Routing;

public class PathfinderTests
{
    const int Draws = 20_000;
    static readonly PeerId _a = PeerId.FromNumber(1), _b = PeerId.FromNumber(2), _c = PeerId.FromNumber(3);

    static Pathfinder Of(PathfinderSettings settings, params PeerId[] peers)
    {
        var pathfinder = new Pathfinder(settings, 1);
        pathfinder.SetCandidates(peers);
        return pathfinder;
    }

    static PeerLoad Load(int queued, int free, double seconds, int accepted = 0, double owed = 0) =>
        new(queued, free, accepted, (long)(seconds * 1e9), (long)(owed * 1e9));

    static double Share(Pathfinder pathfinder, PeerId peer, Instant now)
    {
        int hits = 0;
        for (int i = 0; i < Draws; i++)
            hits += pathfinder.TryPick(0, 0, [], now, out PeerId picked) && picked == peer ? 1 : 0;
        return (double)hits / Draws;
    }

    // Binomial: four standard deviations of a share p over Draws.
    static double Tolerance(double p) => 4 * Math.Sqrt(p * (1 - p) / Draws);

    [Theory]
    [InlineData(1.0, 0.0)]
    [InlineData(2.0, 0.1)]
    [InlineData(4.0, 0.02)]
    public void TwoSpeeds_NothingQueued_SharesAreTheFormulas(double gamma, double floor)
    {
        Pathfinder pathfinder = Of(new PathfinderSettings { Gamma = gamma, Floor = floor, WorthWaiting = 100 }, _a, _b);
        pathfinder.HandleStatus(_a, Load(0, 4, 1), Instant.Zero);
        pathfinder.HandleStatus(_b, Load(0, 4, 2), Instant.Zero);
        double weight = Math.Pow(2, -gamma);
        double expected = (1 - floor) * weight / (1 + weight) + floor / 2;
        Assert.Equal(expected, Share(pathfinder, _b, Instant.Zero), Tolerance(expected));
    }

    [Fact]
    public void SuspectedOrFullOrExcluded_NeverPicked()
    {
        Pathfinder pathfinder = Of(new PathfinderSettings { Floor = 0.5 }, _a, _b, _c);
        pathfinder.SetSuspected(_a, true);
        pathfinder.HandleBusy(_b);
        Assert.Equal(1, Share(pathfinder, _c, Instant.Zero));
        Assert.False(pathfinder.TryPick(0, 0, [_c], Instant.Zero, out _));
        pathfinder.HandleStatus(_b, Load(0, 1, 0), Instant.Zero);
        Assert.True(pathfinder.TryPick(0, 0, [_c], Instant.Zero, out PeerId picked));
        Assert.Equal(_b, picked);
    }

    [Fact]
    public void FastOneFull_SlowOneFree_WaitingIsChosen()
    {
        Pathfinder pathfinder = Of(new PathfinderSettings { WorthWaiting = 3 }, _a, _b);
        pathfinder.HandleStatus(_a, Load(0, 0, 1), Instant.Zero);
        pathfinder.HandleStatus(_b, Load(0, 4, 5), Instant.Zero);
        Assert.False(pathfinder.TryPick(0, 0, [], Instant.Zero, out _));
    }

    [Fact]
    public void FailureFades_HalfLifeLater_WeightIsBack()
    {
        Pathfinder pathfinder = Of(new PathfinderSettings { Gamma = 1, Floor = 0, WorthWaiting = 100 }, _a, _b);
        pathfinder.HandleFailed(_b, Instant.Zero);
        Assert.Equal(1.0 / 3, Share(pathfinder, _b, Instant.Zero), Tolerance(1.0 / 3));
        Instant later = Instant.Zero + TimeSpan.FromSeconds(2000);
        Assert.Equal(0.5, Share(pathfinder, _b, later), Tolerance(0.5));
    }

    [Fact]
    public void SlowLink_SameSpeed_ExpectedTimeCountsRoundTripAndTransfer()
    {
        Pathfinder pathfinder = Of(new PathfinderSettings { Smoothing = 1 }, _a);
        pathfinder.HandleStatus(_a, Load(2, 4, 1), Instant.Zero);
        pathfinder.HandleRoundTrip(_a, TimeSpan.FromSeconds(0.1));
        pathfinder.HandleTransfer(_a, 1_000_000, TimeSpan.FromSeconds(0.5));
        // 0.1 s round trip + 2 MB at 2 MB/s + one service time for each of the two ahead and ours
        Assert.Equal(0.1 + 1 + 3, pathfinder.ExpectedSeconds(_a, 2_000_000, Instant.Zero), 1e-5);
    }
}
