// Wire formats: the packed bytes follow from the definition, unpacking inverts packing as far as the format carries.
using FsCheck.Fluent;
using OrionNative.Kernels.Numerics;
using OrionNative.Kernels.Tests.Support;

namespace OrionNative.Kernels.Tests;

public class CodeTests
{
    [Theory, Devices]
    public void Pack_AnyCode_GivesTheBytesOfTheDefinition(string device) => ForRandomCodes(device, (bench, format, rows, width) =>
    {
        double[] code = bench.Normal(rows * width, Math.Pow(10, bench.Random.Next(-6, 6)));
        if (rows > 1)
        {
            Array.Clear(code, width, width);
        }

        nint wire = bench.Scratch(CodeWire.Bytes(format, rows, width));
        bench.Ops.CodePack(bench.Compute(code, rows, width, gap: 3), format, wire);
        Assert.Equal(Oracle.CodePack([.. code.Select(x => (float)x)], format, rows, width), bench.Bytes(wire, CodeWire.Bytes(format, rows, width)));
    });

    [Theory, Devices]
    public void Unpack_AfterPack_IsAsCloseAsTheFormat(string device) => ForRandomCodes(device, (bench, format, rows, width) =>
    {
        double[] code = bench.Normal(rows * width);
        Tensor unpacked = bench.Unwritten(rows, width, gap: 2);
        nint wire = bench.Scratch(CodeWire.Bytes(format, rows, width));
        bench.Ops.CodePack(bench.Compute(code, rows, width), format, wire);
        bench.Ops.CodeUnpack(wire, format, unpacked);
        Close.Within(code, bench.Get(unpacked), i => format switch
        {
            WireFormat.Float32 => 0,
            WireFormat.BFloat16 => Math.ScaleB(Math.Abs(code[i]), -8),
            // half a step; the scale is at most 2^-7 above the largest magnitude over 127
            _ => (0.5 + (bench.Unit * 127)) * code[(i / width * width)..((i / width * width) + width)].Max(Math.Abs) / 127 * (1 + Math.ScaleB(1, -7)),
        }, $"code, {format}");

        // what was unpacked packs to the same bytes: a second hop loses nothing
        if (format != WireFormat.Int8)
        {
            byte[] first = bench.Bytes(wire, CodeWire.Bytes(format, rows, width));
            bench.Ops.CodePack(unpacked, format, wire);
            Assert.Equal(first, bench.Bytes(wire, first.Length));
        }
    });

    // quotients on and beside a half decide where rounding goes: one bit too many or too few there changes a byte
    [Theory, Devices]
    public void Pack_QuotientsAtHalves_RoundAsDivisionsDo(string device)
    {
        using Workbench bench = new(device);
        float[] steps = [1f, 1.0078125f, 1.34375f, 1.9921875f, MathF.ScaleB(1.1015625f, -60), MathF.ScaleB(1.7265625f, 80), MathF.ScaleB(1.3515625f, -110), MathF.ScaleB(1.3515625f, 110)];
        const int halves = 2 * 127;
        float[] code = new float[steps.Length * 6 * halves];
        for (int i = 0; i < code.Length; i++)
        {
            float exact = steps[i / (6 * halves)] * ((i % halves) + 1) / 2;
            float beside = (i / (2 * halves) % 3) switch { 0 => MathF.BitDecrement(exact), 1 => exact, _ => i % halves == halves - 1 ? exact : MathF.BitIncrement(exact) };
            code[i] = i / halves % 2 == 0 ? beside : -beside;
        }

        long bytes = CodeWire.Bytes(WireFormat.Int8, steps.Length, 6 * halves);
        nint wire = bench.Scratch(bytes);
        bench.Ops.CodePack(bench.Compute([.. code.Select(x => (double)x)], steps.Length, 6 * halves), WireFormat.Int8, wire);
        Assert.Equal(Oracle.CodePack(code, WireFormat.Int8, steps.Length, 6 * halves), bench.Bytes(wire, bytes));
    }

    [Theory, Devices]
    public void Pack_UnknownFormat_IsRefused(string device)
    {
        using Workbench bench = new(device);
        Tensor code = bench.Unwritten(1, 4);
        Assert.ThrowsAny<ArgumentException>(() => bench.Ops.CodePack(code, (WireFormat)7, code.Address));
        Assert.ThrowsAny<ArgumentException>(() => bench.Ops.CodeUnpack(code.Address, (WireFormat)7, code));
    }

    static void ForRandomCodes(string device, Action<Workbench, WireFormat, int, int> law) => Law.Holds(Prop.ForAll(
        Gen.Choose(1, 150).Two().ToArbitrary(), Gen.Choose(0, 2).ToArbitrary(), (shape, format) =>
        {
            (int rows, int width) = shape;
            using Workbench bench = new(device, seed: (rows * 151) + width);
            law(bench, (WireFormat)format, rows, width);
        }));

    [Fact]
    public void BFloat16_EveryPattern_SurvivesTheWayThroughSingle()
    {
        for (int bits = 0; bits <= ushort.MaxValue; bits++)
        {
            float value = BFloat16.ToSingle((ushort)bits);
            if (float.IsNaN(value))
            {
                Assert.True(float.IsNaN(BFloat16.ToSingle(BFloat16.FromSingle(value))));
                continue;
            }

            Assert.Equal(bits, BFloat16.FromSingle(value));
            Assert.Equal(bits, BFloat16.FromSingleStochastic(value, 0xFFFF));
        }
    }

    [Fact]
    public void BFloat16_RandomSingles_RoundToTheNearest()
    {
        Random random = new(23);
        for (int i = 0; i < 200_000; i++)
        {
            float value = BitConverter.UInt32BitsToSingle((uint)random.NextInt64(0x7F7F0000) | (uint)random.Next(2) << 31);
            if (BFloat16.FromSingle(value) != Oracle.NearestBFloat16(value))
            {
                Assert.Fail($"{value:R} rounds to {BFloat16.FromSingle(value):X4}, the nearest is {Oracle.NearestBFloat16(value):X4}");
            }
        }
    }

    [Fact]
    public void BFloat16_Split_IsTheNearestAndJoinsToTheSameBits()
    {
        // every upper half, with remainders around the ends of the interval that one bfloat16 stands for
        foreach (uint low in new uint[] { 0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF })
        {
            for (uint high = 0; high <= ushort.MaxValue; high++)
            {
                float master = BitConverter.UInt32BitsToSingle((high << 16) | low);
                (ushort nearest, ushort rest) = BFloat16.Split(master);
                float joined = BFloat16.Join(nearest, rest);
                if (float.IsNaN(master))
                {
                    Assert.True(float.IsNaN(joined) && float.IsNaN(BFloat16.ToSingle(nearest)));
                    continue;
                }

                // two neighbours are equally near in a tie only, where the further one from zero is taken
                ushort expected = low == 0x8000 ? (ushort)(high + 1) : BFloat16.FromSingle(master);
                if (BitConverter.SingleToUInt32Bits(joined) != BitConverter.SingleToUInt32Bits(master) || nearest != expected)
                {
                    Assert.Fail($"{master:R} ({(high << 16) | low:X8}) splits into {nearest:X4} and {rest:X4}, which join to {joined:R}; the nearest is {expected:X4}");
                }
            }
        }
    }

    [Fact]
    public void BFloat16_Stochastic_HasTheValueAsItsMean()
    {
        // 1 + 3/1024 lies 3/8 of the way from 1 to 1 + 1/128: of the 65536 random numbers exactly 3/8 round up
        const float value = 1 + (3f / 1024);
        int up = 0;
        for (uint random = 0; random < 65536; random++)
        {
            up += BFloat16.ToSingle(BFloat16.FromSingleStochastic(value, random)) > 1 ? 1 : 0;
        }

        Assert.Equal(65536 * 3 / 8, up);
        Assert.True(float.IsNaN(BFloat16.ToSingle(BFloat16.FromSingleStochastic(float.NaN, 0xFFFF))));
        Assert.Equal(float.PositiveInfinity, BFloat16.ToSingle(BFloat16.FromSingleStochastic(float.PositiveInfinity, 0xFFFF)));
    }
}
