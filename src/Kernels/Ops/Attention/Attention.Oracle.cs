// Attention with every score written out: s = q*k^T/sqrt(D) up to the query's position, p = softmax(s), o = p*v.
namespace OrionNative.Kernels;

static partial class Oracle
{
    /// <summary>output[B*T, H*D] and logSumExp[B*H, T].</summary>
    public static (double[] Output, double[] LogSumExp) AttentionForward(double[] qkv, AttentionShape shape)
    {
        double[] output = new double[shape.Rows * shape.OutputColumns];
        double[] logSumExp = new double[shape.Sequences * shape.QueryHeads * shape.Tokens];
        ForEachQuery(shape, (row, head, t, b) =>
        {
            double[] p = Probabilities(qkv, shape, b, t, head, out double lse);
            logSumExp[(((b * shape.QueryHeads) + head) * shape.Tokens) + t] = lse;
            for (int j = 0; j <= t; j++)
            {
                for (int i = 0; i < shape.HeadWidth; i++)
                {
                    output[(row * shape.OutputColumns) + (head * shape.HeadWidth) + i] += p[j] * qkv[ValueAt(shape, b, j, head) + i];
                }
            }
        });
        return (output, logSumExp);
    }

    /// <summary>The gradient of sum(output * gradOutput) by qkv.</summary>
    public static double[] AttentionBackward(double[] qkv, double[] gradOutput, AttentionShape shape)
    {
        double[] gradient = new double[qkv.Length];
        double scale = 1 / Math.Sqrt(shape.HeadWidth);
        ForEachQuery(shape, (row, head, t, b) =>
        {
            double[] p = Probabilities(qkv, shape, b, t, head, out _);
            double[] dp = new double[t + 1];
            double mean = 0;
            int dOut = (row * shape.OutputColumns) + (head * shape.HeadWidth);
            int q = QueryAt(shape, b, t, head);
            for (int j = 0; j <= t; j++)
            {
                for (int i = 0; i < shape.HeadWidth; i++)
                {
                    dp[j] += gradOutput[dOut + i] * qkv[ValueAt(shape, b, j, head) + i];
                }

                mean += p[j] * dp[j];
            }

            for (int j = 0; j <= t; j++)
            {
                int k = KeyAt(shape, b, j, head), v = ValueAt(shape, b, j, head);
                double ds = p[j] * (dp[j] - mean) * scale;
                for (int i = 0; i < shape.HeadWidth; i++)
                {
                    gradient[q + i] += ds * qkv[k + i];
                    gradient[k + i] += ds * qkv[q + i];
                    gradient[v + i] += p[j] * gradOutput[dOut + i];
                }
            }
        });
        return gradient;
    }

    static double[] Probabilities(double[] qkv, AttentionShape shape, int b, int t, int head, out double logSumExp)
    {
        double[] p = new double[t + 1];
        int q = QueryAt(shape, b, t, head);
        for (int j = 0; j <= t; j++)
        {
            int k = KeyAt(shape, b, j, head);
            for (int i = 0; i < shape.HeadWidth; i++)
            {
                p[j] += qkv[q + i] * qkv[k + i] / Math.Sqrt(shape.HeadWidth);
            }
        }

        logSumExp = Softmax(p);
        return p;
    }

    static void ForEachQuery(AttentionShape shape, Action<int, int, int, int> body)
    {
        for (int b = 0; b < shape.Sequences; b++)
        {
            for (int t = 0; t < shape.Tokens; t++)
            {
                for (int head = 0; head < shape.QueryHeads; head++)
                {
                    body((b * shape.Tokens) + t, head, t, b);
                }
            }
        }
    }

    static int QueryAt(AttentionShape shape, int b, int t, int head) =>
        (((b * shape.Tokens) + t) * shape.PackedColumns) + (head * shape.HeadWidth);

    static int KeyAt(AttentionShape shape, int b, int t, int head) =>
        QueryAt(shape, b, t, shape.QueryHeads + (head / (shape.QueryHeads / shape.KeyValueHeads)));

    static int ValueAt(AttentionShape shape, int b, int t, int head) => KeyAt(shape, b, t, head) + (shape.KeyValueHeads * shape.HeadWidth);
}
