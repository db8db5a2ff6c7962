using OrionNative.Net.Framing;
using OrionNative.Net.Identity;

namespace OrionNative.Net.Tests.Framing;

public class DialFailuresTests
{
    const ulong Second = 1_000_000_000;

    readonly DialFailures _dials = new();
    readonly NodeId _node = new(Enumerable.Repeat((byte)1, 32).ToArray()), _other = new(Enumerable.Repeat((byte)2, 32).ToArray());

    [Fact]
    public void PeerIsAwayForAnHour_DialledThreeTimesASecond_HasTwelveLinesWithTheirCounts()
    {
        List<(ulong Second, string Line)> lines = [];
        for (ulong i = 0; i < 3 * 3600; i++)
        {
            if (_dials.Failed(_node, "nobody answers", i * Second / 3) is { } line) lines.Add((i / 3, line));
        }
        // 0, then the pauses 10, 10, 20, 40, 80, 160, 320, 600, 600 ...
        Assert.Equal([0, 10, 20, 40, 80, 160, 320, 640, 1240, 1840, 2440, 3040], lines.Select(line => line.Second));
        Assert.Equal("", lines[0].Line);
        Assert.Equal("; 31 dials failed in 10 s", lines[1].Line);
        Assert.Equal("; 10800 dials failed in 3600 s", _dials.Opened(_node, 3600 * Second));
        Assert.Equal("", _dials.Opened(_node, 3601 * Second));
        Assert.Equal("", _dials.Failed(_node, "nobody answers", 3602 * Second));
    }

    [Fact]
    public void ReasonChanges_IsToldAtOnce_ButNotWithoutEnd()
    {
        Assert.Equal("", _dials.Failed(_node, "nobody answers", 0));
        Assert.Equal("; 2 dials failed in 0 s", _dials.Failed(_node, "another key answered", 1));
        Assert.Null(_dials.Failed(_node, "nobody answers", 2));
        Assert.Equal("", _dials.Failed(_other, "nobody answers", 3));
        Assert.InRange(Enumerable.Range(0, 1000).Count(i => _dials.Failed(_node, $"no answer for {i} ms", Second) is not null), 1, 8);
    }
}
