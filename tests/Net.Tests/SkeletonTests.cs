namespace OrionNative.Net.Tests;

public class SkeletonTests
{
    [Fact]
    public void TestProject_Runs() => Assert.Equal(4, 2 + 2);
}
