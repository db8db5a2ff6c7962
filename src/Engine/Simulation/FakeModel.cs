// A model of numbers instead of tensors: every value is a hash of what it was computed from, so one wrong, missing, stale or
// doubled contribution changes the weights of every later step.
//   z = h(W, x)   dx = h(W, dz, x)   g = h(W, x, dz)   sum over microbatches mod 2^64   W' = h(W, sum, scale)
// Addition mod 2^64 commutes exactly, so the weights of an undisturbed single process are the oracle for every run.
namespace OrionNative.Engine.Simulation;

sealed class FakeModel(ulong seed, int stageCount, int microbatchCount, double clipNorm)
{
    readonly List<ulong[]> _weights = [[.. Enumerable.Range(0, stageCount).Select(s => Hash(seed, (ulong)s, 11))]];

    public static ulong Hash(ulong a, ulong b, ulong c)
    {
        ulong z = a * 0x9E3779B97F4A7C15 ^ b * 0xC2B2AE3D27D4EB4F ^ c * 0x165667B19E3779F9;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
        z = (z ^ z >> 27) * 0x94D049BB133111EB;
        return z ^ z >> 31;
    }

    public ulong Data(int step, int microbatch) => Hash(seed, (ulong)step, (ulong)microbatch + 1000);

    public static ulong Forward(ulong weights, ulong x) => Hash(weights, x, 1);

    public static ulong LossGradient(ulong z) => Hash(z, 2, 2);

    public static double Loss(ulong z) => (z >> 40) / 16777216.0;

    public static ulong Backward(ulong weights, ulong x, ulong dz) => Hash(weights, x ^ dz * 3, 3);

    public static ulong Gradient(ulong weights, ulong x, ulong dz) => Hash(weights, x + dz, 4);

    public static double Square(ulong sum) => sum % 1000;

    public static ulong Apply(ulong weights, ulong sum, double scale) => Hash(weights, sum, BitConverter.DoubleToUInt64Bits(scale));

    public double Scale(double norm) => norm > clipNorm ? clipNorm / norm : 1;

    /// <summary>The stage's weights after a step, as a single process computes them.</summary>
    public ulong Reference(int step, int stage)
    {
        while (_weights.Count <= step)
            _weights.Add(TrainStep(_weights.Count, _weights[^1]));
        return _weights[step][stage];
    }

    ulong[] TrainStep(int step, ulong[] weights)
    {
        var sums = new ulong[stageCount];
        var inputs = new ulong[stageCount];
        for (int m = 0; m < microbatchCount; m++)
        {
            ulong x = Data(step, m);
            for (int s = 0; s < stageCount; s++)
                (inputs[s], x) = (x, Forward(weights[s], x));
            ulong dz = LossGradient(x);
            for (int s = stageCount - 1; s >= 0; s--)
            {
                sums[s] += Gradient(weights[s], inputs[s], dz);
                dz = Backward(weights[s], inputs[s], dz);
            }
        }
        double scale = Scale(Math.Sqrt(sums.Select(Square).Sum()));
        return [.. Enumerable.Range(0, stageCount).Select(s => Apply(weights[s], sums[s], scale))];
    }
}
