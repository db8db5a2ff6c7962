// What `join --rehearse-hang` takes, and when it strikes.
using OrionNative.Engine.Control;
using OrionNative.Engine.Hosting.Swarm;

namespace OrionNative.Engine.Tests.Swarm;

public class HangDrillTests
{
    [Fact]
    public void Drill_Parsed_StrikesOnceInTheNamedTask()
    {
        Assert.Null(HangDrill.Parse(null));
        HangDrill drill = HangDrill.Parse("apply:2:0.5")!;
        Assert.Equal(TimeSpan.FromSeconds(0.5), drill.Lasts);
        ComputeTask[] tasks = [ComputeTask.Apply, ComputeTask.Sum, ComputeTask.Apply, ComputeTask.Apply];
        Assert.Equal([false, false, true, false], tasks.Select(drill.Strikes));
    }

    [Theory]
    [InlineData("")]
    [InlineData("apply")]
    [InlineData("apply:1")]
    [InlineData("none:1:2")]
    [InlineData("3:1:2")]
    [InlineData("adapt:1:2")]
    [InlineData("apply:0:2")]
    [InlineData("apply:1:0")]
    [InlineData("apply:1:3601")]
    [InlineData("apply:1:NaN")]
    [InlineData("apply:1:2:3")]
    public void Drill_ThatIsNone_IsNamedWithTheForm(string text)
    {
        ConfigurationException error = Assert.Throws<ConfigurationException>(() => HangDrill.Parse(text));
        Assert.Contains($"rehearse-hang '{text}' is not TASK:N:SECONDS like apply:5:60", error.Message, StringComparison.Ordinal);
    }
}
