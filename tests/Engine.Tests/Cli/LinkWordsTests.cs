// The words of `link emulate`: each changes what it names and nothing else; a wrong one is answered with the right ones.
using OrionNative.Engine.Cli.Link;
using OrionNative.Net.Links;

namespace OrionNative.Engine.Tests.Cli;

public class LinkWordsTests
{
    static readonly LinkProfile _plain = LinkProfile.Both(new LinkConditions());

    [Theory]
    [InlineData("rate 100mbit", 100e6)]
    [InlineData("rate 1.5gbit", 1.5e9)]
    [InlineData("rate 56kbit", 56e3)]
    [InlineData("rate 0", 0)]
    public void Rate_WithUnit_IsBitsPerSecond(string line, double expected) => Assert.Equal(expected, LinkWords.Apply(_plain, line).Up.BitsPerSecond, 3);

    [Fact]
    public void Profile_FromRatesAndRoundTrip_HasHalfOfItEachWay()
    {
        LinkProfile link = LinkWords.Profile("856/1322mbit,30-60ms");
        Assert.Equal((856e6, 1322e6), (link.Up.BitsPerSecond, link.Down.BitsPerSecond));
        Assert.Equal((TimeSpan.FromMilliseconds(15), TimeSpan.FromMilliseconds(15)), (link.Up.Delay, link.Down.Jitter));
        LinkProfile even = LinkWords.Profile("1gbit,0.2s");
        Assert.Equal((1e9, 1e9, TimeSpan.FromMilliseconds(100), TimeSpan.Zero), (even.Up.BitsPerSecond, even.Down.BitsPerSecond, even.Up.Delay, even.Down.Jitter));
        Assert.Same(LinkProfile.Named["home"].Profile, LinkWords.Profile("home"));
    }

    [Theory]
    [InlineData("hoem", "did you mean 'home'?")]
    [InlineData("", "is neither a profile")]
    [InlineData("100mbit", "rates and round trip like")]
    [InlineData("1/2/3mbit,20ms", "wants rates and round trip")]
    [InlineData("10mbit,60-30ms", "wants rates and round trip")]
    [InlineData("10mbit,fast", "round trip wants a number")]
    [InlineData("10parsec,20ms", "rate wants a number")]
    public void Profile_ThatIsNone_SaysWhatThereIs(string text, string expected) =>
        Assert.Contains(expected, Assert.Throws<ConfigurationException>(() => LinkWords.Profile(text)).Message);

    [Fact]
    public void OneDirection_LeavesTheOther()
    {
        LinkProfile changed = LinkWords.Apply(_plain, "down delay 80ms");
        Assert.Equal(TimeSpan.FromMilliseconds(80), changed.Down.Delay);
        Assert.Equal(_plain.Up, changed.Up);
    }

    [Fact]
    public void Shares_AreReadAsPercentOrFraction()
    {
        Assert.Equal(0.01, LinkWords.Apply(_plain, "loss 1%").Up.Loss, 9);
        Assert.Equal(0.25, LinkWords.Apply(_plain, "reorder 0.25").Down.Reorder, 9);
        Assert.Throws<ConfigurationException>(() => LinkWords.Apply(_plain, "loss 150%"));
    }

    [Fact]
    public void Profile_OfOneDirection_LeavesTheOther()
    {
        LinkProfile changed = LinkWords.Apply(_plain, "up profile lossy");
        Assert.Equal(LinkProfile.Named["lossy"].Profile.Up, changed.Up);
        Assert.Equal(_plain.Down, changed.Down);
    }

    [Fact]
    public void Blackhole_NamesItsDirections()
    {
        Assert.Equal((true, false), Holes("blackhole up"));
        Assert.Equal((false, true), Holes("blackhole down"));
        Assert.Equal((true, true), Holes("blackhole both"));
        Assert.Equal((false, false), Holes("blackhole off"));

        static (bool Up, bool Down) Holes(string line)
        {
            LinkProfile profile = LinkWords.Apply(LinkProfile.Both(new LinkConditions { Blackhole = line.EndsWith("off", StringComparison.Ordinal) }), line);
            return (profile.Up.Blackhole, profile.Down.Blackhole);
        }
    }

    [Theory]
    [InlineData("los 1%", "loss")]
    [InlineData("delay 3 apples", "WORD VALUE")]
    [InlineData("delay soon", "ms")]
    [InlineData("profile moon", "orion")]
    [InlineData("blackhole upp", "up, down, both or off")]
    public void WrongWord_IsAnsweredWithWhatExists(string line, string expected) =>
        Assert.Contains(expected, Assert.Throws<ConfigurationException>(() => LinkWords.Apply(_plain, line)).Message);
}
