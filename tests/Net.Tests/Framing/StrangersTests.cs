// One sentence for many strangers, with the worst of them by name, whatever order they come in; nothing for a few.
using System.Net;
using OrionNative.Net.Framing;

namespace OrionNative.Net.Tests.Framing;

public class StrangersTests
{
    const ulong Second = 1_000_000_000;

    readonly List<string> _lines = [];
    readonly Strangers _strangers;

    public StrangersTests() => _strangers = new Strangers("quic here", TimeSpan.FromSeconds(10), _lines.Add);

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void ThousandsOfSources_OneWithATenthOfAll_IsNamedOnce(int seed)
    {
        // a tenth is more than 1/16, so the table of 16 must hold it; its place in it is the least it can have
        UInt128 worst = 0xffff_0a01_0203;
        UInt128[] deeds = [.. Enumerable.Repeat(worst, 1000), .. Enumerable.Range(0, 9000).Select(static i => 0xffff_c000_0000 + (UInt128)(uint)(i % 4500))];
        new Random(seed).Shuffle(deeds);
        foreach (UInt128 source in deeds) _strangers.Note(StrangerDeed.LeadsNowhere, source, Second);
        _strangers.Tick(10 * Second);
        Assert.Empty(_lines);
        _strangers.Tick(11 * Second);
        _strangers.Tick(30 * Second);
        string line = Assert.Single(_lines);
        Assert.StartsWith("quic here: strangers in 10 s: 10000 datagrams that lead nowhere; most of it (", line, StringComparison.Ordinal);
        Assert.EndsWith("from 10.1.2.3", line, StringComparison.Ordinal);
    }

    [Fact]
    public void FewDeeds_AreTheInternetsNoise()
    {
        for (int i = 0; i < 99; i++) _strangers.Note(StrangerDeed.Unfinished, 5, Second);
        Assert.Equal(11 * Second, _strangers.DueAt);
        _strangers.Tick(20 * Second);
        Assert.Empty(_lines);
        Assert.Equal(ulong.MaxValue, _strangers.DueAt);
    }

    [Fact]
    public void Refusals_TheFirstOfAPeriodHaveALineOfTheirOwn()
    {
        for (int period = 0; period < 2; period++)
        {
            int told = Enumerable.Range(0, 100).Count(_ => _strangers.Note(StrangerDeed.Refused, 5, Second));
            Assert.Equal(Strangers.RefusalLinesMax, told);
            _strangers.Tick(20 * Second);
        }
        Assert.Equal(2, _lines.Count);
        Assert.Contains("100 refused", _lines[0], StringComparison.Ordinal);
        Assert.Contains(IPAddress.Parse("::5").ToString(), _lines[0], StringComparison.Ordinal);
    }
}
