namespace OrionNative.Engine.Tests.Model;

public class CounterNormalTests
{
    // Abramowitz and Stegun, table 26.1 and 26.5, to the digits that AS 241's short form promises
    [Theory]
    [InlineData(0.5, 0)]
    [InlineData(0.75, 0.6744897502)]
    [InlineData(0.9, 1.2815515655)]
    [InlineData(0.975, 1.9599639845)]
    [InlineData(0.001, -3.0902323062)]
    [InlineData(1e-7, -5.1993375822)]
    [InlineData(1e-15, -7.9413453261)]
    public void Quantile_OfKnownProbabilities_AgreesWithTheTable(double p, double x) =>
        Assert.Equal(x, CounterNormal.Quantile(p), 3e-7 * Math.Max(1, Math.Abs(x)));

    [Fact]
    public void At_ManyIndices_HasTheMomentsOfANormal()
    {
        const int Count = 1_000_000;
        CounterNormal normal = new(1, "model.layers.0.mlp.down_proj.weight");
        double mean = 0, square = 0, fourth = 0, neighbours = 0, last = 0;
        for (int i = 0; i < Count; i++)
        {
            double x = normal.At(i);
            mean += x;
            square += x * x;
            fourth += x * x * x * x;
            neighbours += x * last;
            last = x;
        }

        // five standard errors of each estimate: var(x) = 1, var(x^2) = 2, var(x^4) = 96, var(x*y) = 1
        double error = 5 / Math.Sqrt(Count);
        Assert.Equal(0, mean / Count, error);
        Assert.Equal(1, square / Count, error * Math.Sqrt(2));
        Assert.Equal(3, fourth / Count, error * Math.Sqrt(96));
        Assert.Equal(0, neighbours / Count, error);
    }

    [Fact]
    public void At_OtherSeedOrName_GivesOtherNumbers()
    {
        double x = new CounterNormal(1, "a").At(5);
        Assert.Equal(x, new CounterNormal(1, "a").At(5));
        Assert.NotEqual(x, new CounterNormal(2, "a").At(5));
        Assert.NotEqual(x, new CounterNormal(1, "b").At(5));
    }
}
