// The choice itself: probabilities follow the formula in the header.
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

    // Two fast ones (1 s) with 5 s of work each and an idle slow one (8 s); n left. All end together at H, 2 H - 10 + H/8 = n.
    [Theory]
    [InlineData(6, false)]    // H = 16 / 2.125 = 7.53, the slow one would end at 8
    [InlineData(8, true)]     // H = 18 / 2.125 = 8.47
    public void RestOfTheStepIsKnown_SlowOneEndsBeforeTheOthersOrNot_GetsItOrNot(int left, bool isWorthIt)
    {
        Pathfinder pathfinder = Of(new PathfinderSettings(), _a, _b, _c);
        foreach (PeerId fast in (PeerId[])[_a, _b])
            pathfinder.HandleStatus(fast, Load(5, 4, 1, accepted: 10, owed: 5), Instant.Zero);
        pathfinder.HandleStatus(_c, Load(0, 4, 8), Instant.Zero);
        int hits = 0;
        for (int i = 0; i < Draws; i++)
            hits += pathfinder.TryPick(0, 20 + left, [], Instant.Zero, out PeerId picked) && picked == _c ? 1 : 0;
        Assert.Equal(isWorthIt, hits > 0);
    }

    [Fact]
    public void StragglerWithRoomForOne_ThreeSenders_OneOfThemHasTheTurn()
    {
        int takers = 0;
        for (int rank = 0; rank < 3; rank++)
        {
            Pathfinder pathfinder = Of(new PathfinderSettings(), _a, _b);
            pathfinder.SetSenders(rank, 3);
            pathfinder.HandleStatus(_a, Load(9, 0, 1, accepted: 20, owed: 9), Instant.Zero);
            pathfinder.HandleStatus(_b, Load(0, 4, 8, accepted: 1), Instant.Zero);
            takers += pathfinder.TryPick(0, 22, [], Instant.Zero, out _) ? 1 : 0;
        }
        Assert.Equal(1, takers);
    }

    [Fact]
    public void NobodyMeasured_SecondMicrobatch_WaitsUntilTheFirstHasShown()
    {
        Pathfinder pathfinder = Of(new PathfinderSettings(), _a, _b);
        pathfinder.HandleSent(_a);
        pathfinder.HandleSent(_b);
        Assert.False(pathfinder.TryPick(0, 8, [], Instant.Zero, out _));
        pathfinder.HandleAnswered(_b);
        pathfinder.HandleStatus(_b, Load(0, 4, 1, accepted: 1), Instant.Zero);
        Assert.True(pathfinder.TryPick(0, 8, [], Instant.Zero, out PeerId picked));
        Assert.Equal(_b, picked);
    }

    [Fact]
    public void OneSlotLeft_OneIsOnItsWayThere_NotPickedAgain()
    {
        Pathfinder pathfinder = Of(new PathfinderSettings(), _a);
        pathfinder.HandleStatus(_a, Load(0, 1, 1), Instant.Zero);
        pathfinder.HandleSent(_a);
        Assert.False(pathfinder.TryPick(0, 8, [], Instant.Zero, out _));
    }
}
