// The digest of a payload, one core, 8 MiB of random bytes: BLAKE3 as Framing computes it beside SHA-256 as .NET does (OpenSSL
// with the processor's instructions).
using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text.Json.Nodes;
using OrionNative.Net.Framing;

namespace OrionNative.Bench.Net;

static unsafe class NetDigest
{
    const int Bytes = 8 << 20, Rounds = 7, Repeats = 12;

    public static int Run()
    {
        byte* data = (byte*)NativeMemory.AlignedAlloc(Bytes, 4096);
        Random.Shared.NextBytes(new Span<byte>(data, Bytes));
        byte[] digest = new byte[32];
        List<double> blake3 = [], sha256 = [];
        for (int round = 0; round < Rounds; round++)
        {
            blake3.Add(Rate(() => Blake3.Hash(data, Bytes, digest)));
            sha256.Add(Rate(() => SHA256.HashData(new ReadOnlySpan<byte>(data, Bytes), digest)));
        }
        NativeMemory.AlignedFree(data);
        NetRecord.Write("net.digest", "8 MiB, one core", new JsonObject
        {
            ["blake3MegabytesPerSecondSamples"] = NetRecord.Samples(blake3),
            ["sha256MegabytesPerSecondSamples"] = NetRecord.Samples(sha256),
            ["blake3MegabytesPerSecondMedian"] = Clock.Median(blake3),
            ["sha256MegabytesPerSecondMedian"] = Clock.Median(sha256),
            ["ratio"] = Clock.Median(blake3) / Clock.Median(sha256),
        });
        return 0;
    }

    static double Rate(Action hash)
    {
        hash();
        long began = Stopwatch.GetTimestamp();
        for (int i = 0; i < Repeats; i++) hash();
        return (double)Bytes * Repeats / Stopwatch.GetElapsedTime(began).TotalSeconds / 1e6;
    }
}
