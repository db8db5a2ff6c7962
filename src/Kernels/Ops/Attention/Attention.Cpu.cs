// Causal grouped-query attention, one (sequence, key-value head) an item, so that key and value gradients have one writer
// and one order of summation.
namespace OrionNative.Kernels.Cpu;

#pragma warning disable CA1822 // members of the contract

sealed unsafe partial class CpuOps
{
    struct AttentionTask
    {
        public float* Queries, Keys, Values, Output, LogSumExp, Delta, GradOutput, GradQueries, GradKeys, GradValues;
        public int Start, QueryRows, QueryStride, KeyStride, ValueStride, OutputStride, GradOutputStride, GradStride;
        public int KeyRows, StatisticStride, Heads, Groups, Width;
    }

    /// <inheritdoc cref="IOps.AttentionForward"/>
    public void AttentionForward(Tensor qkv, Tensor output, Tensor logSumExp, AttentionShape shape)
    {
        AttentionTask task = Packed(qkv, output, logSumExp, shape);
        _team.Run(shape.Sequences * shape.KeyValueHeads, &task, &AttentionForwardItem);
    }

    /// <inheritdoc cref="IOps.AttentionBackwardBytes"/>
    public long AttentionBackwardBytes(AttentionShape shape) => (long)shape.Rows * shape.QueryHeads * sizeof(float);

    /// <inheritdoc cref="IOps.AttentionBackward"/>
    public void AttentionBackward(Tensor qkv, Tensor output, Tensor gradOutput, Tensor logSumExp, Tensor gradQkv, nint scratch, AttentionShape shape)
    {
        AttentionTask task = Packed(qkv, output, logSumExp, shape);
        task.Delta = (float*)scratch;
        task.GradOutput = (float*)gradOutput.Address;
        task.GradOutputStride = gradOutput.Stride;
        task.GradQueries = (float*)gradQkv.Address;
        task.GradKeys = task.GradQueries + (shape.QueryHeads * shape.HeadWidth);
        task.GradValues = task.GradKeys + (shape.KeyValueHeads * shape.HeadWidth);
        task.GradStride = gradQkv.Stride;
        for (int row = 0; row < gradQkv.Rows; row++)
        {
            new Span<float>(task.GradQueries + ((long)row * gradQkv.Stride), gradQkv.Columns).Clear();
        }

        _team.Run(shape.Sequences * shape.KeyValueHeads, &task, &AttentionBackwardItem);
    }

    /// <inheritdoc cref="IOps.AttentionCached"/>
    public void AttentionCached(Tensor qkv, Tensor keys, Tensor values, int start, Tensor output, AttentionShape shape)
    {
        int columns = shape.KeyValueHeads * shape.HeadWidth;
        for (int row = 0; row < qkv.Rows; row++)
        {
            float* source = (float*)qkv.Address + ((long)row * qkv.Stride) + (shape.QueryHeads * shape.HeadWidth);
            new Span<float>(source, columns).CopyTo(new Span<float>((float*)keys.Address + ((long)(start + row) * keys.Stride), columns));
            new Span<float>(source + columns, columns).CopyTo(new Span<float>((float*)values.Address + ((long)(start + row) * values.Stride), columns));
        }

        AttentionTask task = new()
        {
            Queries = (float*)qkv.Address,
            Keys = (float*)keys.Address,
            Values = (float*)values.Address,
            Output = (float*)output.Address,
            Start = start,
            QueryRows = qkv.Rows,
            QueryStride = qkv.Stride,
            KeyStride = keys.Stride,
            ValueStride = values.Stride,
            OutputStride = output.Stride,
            Heads = shape.QueryHeads,
            Groups = shape.KeyValueHeads,
            Width = shape.HeadWidth,
        };
        _team.Run(shape.KeyValueHeads, &task, &AttentionForwardItem);
    }

    static AttentionTask Packed(Tensor qkv, Tensor output, Tensor logSumExp, AttentionShape shape)
    {
        if (qkv.Rows != shape.Rows || qkv.Columns != shape.PackedColumns || output.Rows != shape.Rows
            || output.Columns != shape.OutputColumns || shape.QueryHeads % shape.KeyValueHeads != 0
            || logSumExp.Rows != shape.Sequences * shape.QueryHeads || logSumExp.Columns != shape.Tokens)
        {
            throw new ArgumentException(
                $"attention of {shape}: qkv {qkv}, expected [{shape.Rows}, {shape.PackedColumns}]; output {output}, expected "
                + $"[{shape.Rows}, {shape.OutputColumns}]; logSumExp {logSumExp}, expected [{shape.Sequences * shape.QueryHeads}, {shape.Tokens}]");
        }

        float* queries = (float*)qkv.Address;
        float* keys = queries + (shape.QueryHeads * shape.HeadWidth);
        return new AttentionTask
        {
            Queries = queries,
            Keys = keys,
            Values = keys + (shape.KeyValueHeads * shape.HeadWidth),
            Output = (float*)output.Address,
            LogSumExp = (float*)logSumExp.Address,
            QueryRows = shape.Tokens,
            QueryStride = qkv.Stride,
            KeyStride = qkv.Stride,
            ValueStride = qkv.Stride,
            OutputStride = output.Stride,
            StatisticStride = logSumExp.Stride,
            KeyRows = shape.Tokens,
            Heads = shape.QueryHeads,
            Groups = shape.KeyValueHeads,
            Width = shape.HeadWidth,
        };
    }

    static void AttentionForwardItem(void* state, int item)
    {
        AttentionTask* task = (AttentionTask*)state;
        int sequence = item / task->Groups, group = item % task->Groups, perGroup = task->Heads / task->Groups, width = task->Width;
        float scale = 1 / MathF.Sqrt(width);
        for (int head = group * perGroup; head < (group + 1) * perGroup; head++)
        {
            for (int t = 0; t < task->QueryRows; t++)
            {
                float* q = task->Queries + ((((long)sequence * task->QueryRows) + t) * task->QueryStride) + (head * width);
                float* o = task->Output + ((((long)sequence * task->QueryRows) + t) * task->OutputStride) + (head * width);
                Span<float> output = new(o, width);
                output.Clear();
                float maximum = float.NegativeInfinity, sum = 0;
                for (int j = 0; j <= task->Start + t; j++)
                {
                    float* k = task->Keys + ((((long)sequence * task->KeyRows) + j) * task->KeyStride) + (group * width);
                    float* v = task->Values + ((((long)sequence * task->KeyRows) + j) * task->ValueStride) + (group * width);
                    float s = scale * Dot(q, k, width);
                    float next = MathF.Max(maximum, s), shrink = MathF.Exp(maximum - next), p = MathF.Exp(s - next);
                    maximum = next;
                    sum = (sum * shrink) + p;
                    for (int d = 0; d < width; d++)
                    {
                        o[d] = (o[d] * shrink) + (p * v[d]);
                    }
                }

                for (int d = 0; d < width; d++)
                {
                    o[d] /= sum;
                }

                if (task->LogSumExp != null)
                {
                    task->LogSumExp[((((long)sequence * task->Heads) + head) * task->StatisticStride) + t] = maximum + MathF.Log(sum);
                }
            }
        }
    }

    static void AttentionBackwardItem(void* state, int item)
    {
        AttentionTask* task = (AttentionTask*)state;
        int sequence = item / task->Groups, group = item % task->Groups, perGroup = task->Heads / task->Groups, width = task->Width;
        float scale = 1 / MathF.Sqrt(width);
        for (int head = group * perGroup; head < (group + 1) * perGroup; head++)
        {
            for (int t = 0; t < task->QueryRows; t++)
            {
                long row = ((long)sequence * task->QueryRows) + t;
                float* q = task->Queries + (row * task->QueryStride) + (head * width);
                float* dq = task->GradQueries + (row * task->GradStride) + (head * width);
                float* grad = task->GradOutput + (row * task->GradOutputStride) + (head * width);
                float delta = task->Delta[(row * task->Heads) + head] = Dot(task->Output + (row * task->OutputStride) + (head * width), grad, width);
                float logSumExp = task->LogSumExp[((((long)sequence * task->Heads) + head) * task->StatisticStride) + t];
                for (int j = 0; j <= t; j++)
                {
                    long keyRow = ((long)sequence * task->KeyRows) + j;
                    float* k = task->Keys + (keyRow * task->KeyStride) + (group * width);
                    float* v = task->Values + (keyRow * task->ValueStride) + (group * width);
                    float* dk = task->GradKeys + (keyRow * task->GradStride) + (group * width);
                    float* dv = task->GradValues + (keyRow * task->GradStride) + (group * width);
                    float p = MathF.Exp((scale * Dot(q, k, width)) - logSumExp);
                    float ds = scale * p * (Dot(grad, v, width) - delta);
                    for (int d = 0; d < width; d++)
                    {
                        dv[d] += p * grad[d];
                        dq[d] += ds * k[d];
                        dk[d] += ds * q[d];
                    }
                }
            }
        }
    }

    static float Dot(float* a, float* b, int count)
    {
        float sum = 0;
        for (int i = 0; i < count; i++)
        {
            sum = float.FusedMultiplyAdd(a[i], b[i], sum);
        }

        return sum;
    }
}
