// Attention in double, and how far bf16 and fp32 may take each result from it: p and ds are rounded to bf16 before they meet the
// second product, so each term of that sum is off by at most one rounding (2^-8), and the result is rounded once more; fp32 adds
// 2^-24 per operation, times the number of terms. Turning back mixes the errors of a pair by the cosine and the sine.
namespace OrionNative.Kernels.Cuda;

/// <summary>Attention in double, and how far bf16 and fp32 may take each result from it.</summary>
sealed class AttentionBounds
{
    const double Rounding = 1.0 / 256;
    const double Single = 1.0 / (1 << 24);

    public readonly double[] Output, OutputError, LogSumExp, Delta, GradQkv, GradQkvError;
    public readonly ushort[] StoredOutput;

    /// <param name="s">The shape.</param>
    /// <param name="qkvBits">Packed rows.</param>
    /// <param name="gradientBits">The output's gradient.</param>
    /// <param name="rotaryBase">Beyond 0: the gradient is turned back by the positions from startPosition on.</param>
    /// <param name="startPosition">Position of the first token.</param>
    public AttentionBounds(AttentionShape s, ushort[] qkvBits, ushort[] gradientBits, double rotaryBase = 0, int startPosition = 0)
    {
        double[] x = KernelCases.Widen(qkvBits), g = KernelCases.Widen(gradientBits);
        int rows = s.Rows, columns = s.OutputColumns, packed = s.PackedColumns, d = s.HeadWidth;
        Output = new double[rows * columns];
        OutputError = new double[rows * columns];
        StoredOutput = new ushort[rows * columns];
        LogSumExp = new double[s.QueryHeads * rows];
        Delta = new double[s.QueryHeads * rows];
        GradQkv = new double[rows * packed];
        double[] terms = new double[rows * packed], singles = new double[rows * packed];
        double scale = 1 / Math.Sqrt(d);
        for (int b = 0; b < s.Sequences; b++)
        {
            for (int h = 0; h < s.QueryHeads; h++)
            {
                int keyHead = h / (s.QueryHeads / s.KeyValueHeads);
                for (int t = 0; t < s.Tokens; t++)
                {
                    int row = (b * s.Tokens) + t, q = (row * packed) + (h * d), o = (row * columns) + (h * d);
                    int Key(int u) => (((b * s.Tokens) + u) * packed) + ((s.QueryHeads + keyHead) * d);
                    int values = s.KeyValueHeads * d;
                    double[] scores = [.. Enumerable.Range(0, t + 1).Select(u => scale * Dot(x, q, x, Key(u), d))];
                    double top = scores.Max(), sum = scores.Sum(v => Math.Exp(v - top));
                    LogSumExp[(((b * s.QueryHeads) + h) * s.Tokens) + t] = top + Math.Log(sum);
                    double[] p = [.. scores.Select(v => Math.Exp(v - top) / sum)];
                    for (int c = 0; c < d; c++)
                    {
                        double size = 0;
                        for (int u = 0; u <= t; u++)
                        {
                            Output[o + c] += p[u] * x[Key(u) + values + c];
                            size += p[u] * Math.Abs(x[Key(u) + values + c]);
                        }

                        OutputError[o + c] = (Rounding * (size + Math.Abs(Output[o + c]))) + ((s.Tokens + (4 * d)) * Single * size);
                        StoredOutput[o + c] = Oracle.NearestBFloat16((float)Output[o + c]);
                    }

                    double[] stored = KernelCases.Widen(StoredOutput[o..(o + d)]);
                    double delta = Delta[(((b * s.QueryHeads) + h) * s.Tokens) + t] = Dot(stored, 0, g, o, d);
                    for (int u = 0; u <= t; u++)
                    {
                        int k = Key(u), v = k + values;
                        double dp = Dot(g, o, x, v, d), ds = p[u] * (dp - delta);
                        // dp and delta are fp32 sums of d products, and p carries the error of its exponent.
                        double error = p[u] * 8 * d * Single * (Size(g, o, x, v, d) + Size(stored, 0, g, o, d));
                        for (int c = 0; c < d; c++)
                        {
                            Add(q + c, ds * x[k + c] * scale, error * Math.Abs(x[k + c]) * scale);
                            Add(k + c, ds * x[q + c] * scale, error * Math.Abs(x[q + c]) * scale);
                            Add(v + c, p[u] * g[o + c], p[u] * 8 * d * Single * Math.Abs(g[o + c]));
                        }
                    }
                }
            }
        }

        double[] errors = [.. terms.Select((size, i) => (Rounding * size) + singles[i])];
        if (rotaryBase > 0)
        {
            errors = TurnedBack(errors, s, rotaryBase, startPosition);
            Oracle.Rotary(GradQkv, s, rotaryBase, startPosition, inverse: true);
        }

        GradQkvError = [.. errors.Select((error, i) => (Rounding * Math.Abs(GradQkv[i])) + error)];

        void Add(int at, double term, double single)
        {
            GradQkv[at] += term;
            terms[at] += Math.Abs(term);
            singles[at] += single;
        }
    }

    // Three fp32 operations, a cosine and a sine of fp32 more, on elements of the pair's size.
    double[] TurnedBack(double[] errors, AttentionShape s, double rotaryBase, int start)
    {
        double[] mixed = [.. errors];
        int half = s.HeadWidth / 2, turned = (s.QueryHeads + s.KeyValueHeads) * s.HeadWidth;
        for (int i = 0; i < errors.Length; i++)
        {
            (int row, int column) = (i / s.PackedColumns, i % s.PackedColumns);
            if (column >= turned)
            {
                continue;
            }

            int at = column % s.HeadWidth, other = at < half ? i + half : i - half;
            (double sine, double cosine) = Math.SinCos((start + (row % s.Tokens)) * Math.Pow(rotaryBase, -2.0 * (at % half) / s.HeadWidth));
            mixed[i] = (Math.Abs(cosine) * errors[i]) + (Math.Abs(sine) * errors[other]) + (4 * Single * (Math.Abs(GradQkv[i]) + Math.Abs(GradQkv[other])));
        }

        return mixed;
    }

    static double Dot(double[] a, int i, double[] b, int j, int count)
    {
        double sum = 0;
        for (int c = 0; c < count; c++)
        {
            sum += a[i + c] * b[j + c];
        }

        return sum;
    }

    static double Size(double[] a, int i, double[] b, int j, int count)
    {
        double sum = 0;
        for (int c = 0; c < count; c++)
        {
            sum += Math.Abs(a[i + c] * b[j + c]);
        }

        return sum;
    }
}
